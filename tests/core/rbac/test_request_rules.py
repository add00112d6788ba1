# SPDX-License-Identifier: Apache-2.0
import pytest

from mezite.core.rbac.evaluator import NodeRequest, allowed_logins, evaluate
from mezite.core.rbac.label_matcher import LabelSelector
from mezite.core.rbac.request_rules import (
    check_role_entry,
    may_request_role,
    may_review_role,
    roles_naming,
    with_nodes,
)
from mezite.core.rbac.roles import BUILT_IN_ROLES, Conditions, Role


def role(name="r", *, deny=None, **allow):
    return Role(name=name, allow=Conditions(**allow), deny=deny or Conditions())


@pytest.mark.parametrize("entry", ["ssh-production", "*", "^ssh-.*$"])
def test_entries(entry):
    assert check_role_entry(entry) == entry


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ("", "empty"),
        ("Admin", "not allowed"),
        ("^half", "half a regular expression"),
        ("^(unclosed$", "not a regular expression"),
        ("a,b", "not allowed"),
        ("ssh-*", "not allowed"),
    ],
)
def test_no_entries(entry, why):
    with pytest.raises(ValueError, match=why):
        check_role_entry(entry)


@pytest.mark.parametrize(
    ("entries", "asked", "expected"),
    [
        (("ssh-production",), "ssh-production", True),
        (("ssh-production",), "ssh-production-db", False),
        (("a", "b"), "b", True),
        (("^ssh-.*$",), "ssh-db", True),
        (("^ssh-.*$",), "my-ssh-db", False),
        (("*",), "whatever", True),
        ((), "whatever", False),
    ],
)
def test_roles_are_named_as_labels_are(entries, asked, expected):
    assert may_request_role([role(request_roles=entries)], asked) is expected
    assert may_review_role([role(review_roles=entries)], asked) is expected
    assert not may_request_role([role(review_roles=entries)], asked)
    assert not may_review_role([role(request_roles=entries)], asked)


@pytest.mark.parametrize("name", sorted(BUILT_IN_ROLES))
def test_built_in_roles_name_none(name):
    """Administrators review by their verb, not by a name."""
    assert not may_request_role([BUILT_IN_ROLES[name]], "x")
    assert not may_review_role([BUILT_IN_ROLES[name]], "x")


def test_nodes_are_named_exactly():
    oncall = role("oncall", request_resources={"nodes": ("db-1",)})
    both = [role("other"), oncall]
    assert roles_naming(both, "db-1") == (oncall,)
    assert roles_naming(both, "db-10") == ()


def test_on_a_granted_node_the_logins_of_the_role_that_names_it_count():
    """And of no other: labels of one role and logins of another do not add up."""
    oncall = role("oncall", request_resources={"nodes": ("db-1",)}, logins=("postgres",))
    other = role("other", node_labels=LabelSelector.parse({"env": "dev"}), logins=("root",))
    labels = {"env": "prod"}
    assert allowed_logins([oncall, other], {}, labels) == set()
    assert allowed_logins(with_nodes([oncall, other], ["db-1"]), {}, labels) == {"postgres"}
    assert with_nodes([oncall, other], ["db-2"]) == (oncall, other)
    assert with_nodes([oncall, other], []) == (oncall, other)


def test_deny_wins_on_a_granted_node():
    closed = Conditions(node_labels=LabelSelector.parse({"env": "prod"}))
    oncall = role("oncall", request_resources={"nodes": ("db-1",)}, logins=("postgres",), deny=closed)
    request = NodeRequest(labels={"env": "prod"}, login="postgres")
    assert not evaluate(with_nodes([oncall], ["db-1"]), request).allowed
