# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.names import check_login
from mezite.core.rbac.login_templates import InvalidLoginError, Traits, check_login_entry, expand_logins
from mezite.testing.strategies.core_texts import traits

TRAITS = Traits({"logins": ("ubuntu", "deploy"), "none": ()}, {"username": ("alice",)})


@pytest.mark.parametrize(
    ("entry", "logins"),
    [
        ("root", {"root"}),
        ("{{internal.logins}}", {"ubuntu", "deploy"}),
        ("{{ internal.logins }}", {"ubuntu", "deploy"}),
        ("{{external.username}}", {"alice"}),
        ("dev-{{external.username}}-x", {"dev-alice-x"}),
        ("{{internal.username}}", set()),
        ("{{external.logins}}", set()),
        ("{{internal.none}}", set()),
    ],
)
def test_entries_expand(entry, logins):
    assert check_login_entry(entry) == entry
    assert expand_logins([entry], TRAITS) == logins


def test_each_entry_counts():
    entries = ["root", "{{internal.none}}", "{{external.username}}", "admin", "{{internal.logins}}"]
    assert expand_logins(entries, TRAITS) == {"root", "alice", "admin", "ubuntu", "deploy"}


NO_TEMPLATE = r"is not a template such as \{\{internal\.logins\}\}$"


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("", "^login is empty"),
        ("*", r"^login '\*'"),
        ("-x", "^login '-x'"),
        ("1000", "^login '1000'"),
        ("{{internal}}", NO_TEMPLATE),
        ("{{other.x}}", NO_TEMPLATE),
        ("{internal.x}", NO_TEMPLATE),
        ("{{internal.a}}{{internal.b}}", NO_TEMPLATE),
        ("{{internal.x}", NO_TEMPLATE),
        ("{{internal.x", NO_TEMPLATE),
        ("internal.x}}", NO_TEMPLATE),
        ("a b", "^login 'a b'"),
    ],
)
def test_other_entries_are_refused(entry, why):
    with pytest.raises(InvalidLoginError, match=why):
        check_login_entry(entry)


@pytest.mark.parametrize("value", ["*", "-oProxyCommand=x", "a,b", "root\n", "0", "", "a" * 65])
def test_a_trait_cannot_smuggle_in_what_is_no_login(value):
    assert expand_logins(["{{internal.logins}}"], Traits({"logins": (value, "ubuntu")})) == {"ubuntu"}


@given(traits(), st.sampled_from(["", "a-", "0"]))
def test_whatever_the_traits_only_logins_come_out(mapping, before):
    entries = [f"{before}{{{{internal.{name}}}}}" for name in mapping]
    for login in expand_logins(entries, Traits(mapping)):
        assert check_login(login) == login
