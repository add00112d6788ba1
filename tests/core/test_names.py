# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core import names

GOOD = [
    (names.check_user_name, ["alice", "Alice.B", "alice@example.com", "a+b", "_svc", "x" * 128, "0"]),
    (names.check_login, ["root", "ubuntu", "first.last@example.com", "HOST$", "_apt", "x" * 64, "7up"]),
    (names.check_node_name, ["web-1", "db_1.example", "0", "a" * 253]),
    (names.check_app_name, ["grafana", "a", "redis-internal", "x" * 63]),
    (names.check_cluster_name, ["mezite", "prod.example.com", "a-b.c"]),
    (names.check_role_name, ["admin", "ssh-production", "a.b_c", "x" * 64]),
    (names.check_trait_name, ["logins", "https://example.com/claims:groups"[:32], "_x"]),
    (names.check_agent_id, ["0190f1d2-7c3b-7aaa-8bbb-0123456789ab", "a"]),
]

BAD = [
    (names.check_user_name, ["", ".a", "-a", "@a", "a b", "a,b", "a/b", "a\n", "é", "a%41", "x" * 129]),
    (names.check_login, ["", "-oProxyCommand=x", "1000", "a$b", "*", "a?b", "a\x00", "x" * 65, "root\n"]),
    (names.check_node_name, ["", "Web", "-a", "a-", ".", "a*", "a/b", "a" * 254, "a\n"]),
    (names.check_app_name, ["", "a.b", "-a", "a-", "A", "x" * 64]),
    (names.check_cluster_name, ["", "a..b", "-a", "A", "a.-b", "x" * 64]),
    (names.check_role_name, ["", "Admin", "a,b", "a b", "-a", "x" * 65]),
    (names.check_trait_name, ["", "1a", "a b", "a}", "x" * 129]),
    (names.check_agent_id, ["", "A", "-a", "a-", "a.b", "x" * 65]),
]


@pytest.mark.parametrize(("check", "name"), [(check, name) for check, all_ in GOOD for name in all_])
def test_allowed_names_come_back(check, name):
    assert check(name) == name


@pytest.mark.parametrize(("check", "name"), [(check, name) for check, all_ in BAD for name in all_])
def test_other_names_are_refused(check, name):
    with pytest.raises(names.InvalidNameError):
        check(name)


def test_refusals_say_what_is_wrong():
    with pytest.raises(names.InvalidNameError, match="node name is empty"):
        names.check_node_name("")
    with pytest.raises(names.InvalidNameError, match="254 characters long; at most 253"):
        names.check_node_name("a" * 254)
    with pytest.raises(names.InvalidNameError, match="'Web' is not allowed: use lower-case"):
        names.check_node_name("Web")
    with pytest.raises(names.InvalidNameError, match="numeric user id"):
        names.check_login("0")


def test_host_names_become_node_names():
    assert names.node_name_from_host_name("WEB-1.Example.COM.\n") == "web-1.example.com"
    with pytest.raises(names.InvalidNameError):
        names.node_name_from_host_name("web 1")


@given(st.text(max_size=20), st.sampled_from([check for check, _ in GOOD]))
def test_no_separator_or_pattern_gets_through(text, check):
    try:
        name = check(text)
    except names.InvalidNameError:
        return
    assert name == text
    assert name.isascii()
    assert name.isprintable()
    assert not set(name) & set(" ,'\"\\*?%(){}[]<>|;&`!=#")
    assert not name.startswith(("-", "."))


@pytest.mark.parametrize(
    ("target", "node"),
    [
        ("web-1", "web-1"),
        ("web-1:22", "web-1"),
        ("web-1.test:22", "web-1"),
        ("WEB-1.test", "web-1"),
        ("web-1.other:22", "web-1.other"),
        (":22", ":22"),
        ("web-1:http", "web-1:http"),
        (".test", ""),
    ],
)
def test_names_of_nodes(target: str, node: str) -> None:
    assert names.node_name_in(target, "test") == node
