# SPDX-License-Identifier: Apache-2.0
import attrs
import pytest

from mezite.core.names import InvalidNameError
from mezite.core.rbac.login_templates import InvalidLoginError
from mezite.core.rbac.roles import BUILT_IN_ROLES, Conditions, Role, role_allows_verb


def test_the_built_in_roles():
    assert sorted(BUILT_IN_ROLES) == ["access", "admin", "auditor", "node"]
    for name in ("admin", "access"):
        allow = BUILT_IN_ROLES[name].allow
        assert allow.logins == ("{{internal.logins}}",)
        assert allow.node_labels.matches({})
        assert allow.app_labels.matches({})
    for name in ("auditor", "node"):
        assert BUILT_IN_ROLES[name].allow == Conditions()
    with pytest.raises(TypeError):
        BUILT_IN_ROLES["mine"] = Role(name="mine")


@pytest.mark.parametrize(
    ("role", "verb", "allowed"),
    [
        ("admin", "users.create", True),
        ("admin", "self.passwd", True),
        ("auditor", "audit.list", True),
        ("auditor", "audit.get", True),
        ("auditor", "audit.export", False),
        ("auditor", "recordings.list", True),
        ("auditor", "recordings.", False),
        ("auditor", "recordings.x", True),
        ("auditor", "recordingsx", False),
        ("auditor", "recordings-list", False),
        ("auditor", "users.list", False),
        ("auditor", "self.status", True),
        ("access", "self.passwd", True),
        ("access", "self", False),
        ("access", "nodes.list", False),
        ("node", "agent.join", True),
        ("node", "agent.renew", False),
        ("node", "self.passwd", False),
        ("admin", "", False),
    ],
)
def test_verbs_of_built_in_roles(role, verb, allowed):
    """E13: what is not listed is not allowed."""
    assert role_allows_verb(BUILT_IN_ROLES[role], verb) is allowed


def test_other_roles_have_their_own_verbs_only():
    assert role_allows_verb(Role(name="ssh"), "self.passwd")
    assert not role_allows_verb(Role(name="ssh"), "users.create")


def test_a_role_that_only_calls_itself_admin_is_not_admin():
    assert not role_allows_verb(attrs.evolve(BUILT_IN_ROLES["admin"], description="mine"), "users.create")


def test_bad_roles_cannot_be_made():
    with pytest.raises(InvalidNameError):
        Role(name="No Spaces")
    with pytest.raises(ValueError, match=r"allows the login '\*'"):
        Role(name="all", allow=Conditions(logins=("*",)))
    with pytest.raises(InvalidLoginError):
        Conditions(logins=("-x",))


def test_star_is_for_deny_lists():
    assert Role(name="none", deny=Conditions(logins=("*",))).deny.logins == ("*",)
