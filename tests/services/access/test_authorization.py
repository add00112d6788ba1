# SPDX-License-Identifier: Apache-2.0
"""The one decision: a table of verbs, and a naive second opinion on who reaches which node."""

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.certificates.ssh import (
    UserCertificateSpec,
    issue_user_certificate,
    public_key_blob,
    verify_user_certificate,
)
from mezite.core.rbac.label_matcher import LabelSelector
from mezite.core.rbac.role_options import RecordSession, RoleOptions, SessionMfa
from mezite.core.rbac.roles import BUILT_IN_ROLES, Conditions, Role
from mezite.core.rbac.session_mfa import ProvenFactor, ProvenFor, SessionProof
from mezite.services.access.authorization import (
    AGENT_VERBS,
    AccessContext,
    Decision,
    Resource,
    authorize,
    session_permissions,
    unenforced,
)
from mezite.services.identity.identities import user_of_ssh_certificate
from mezite.storage.users import UserRow
from mezite.testing.certificates import ThrowAwayCa
from tests.services.world import CLIENT, SSH_KEY, START

CONTEXT = AccessContext(client_address=CLIENT, decision_id="d-1")
NODE = Resource(kind="node", name="web-1", labels={"env": "prod"})
CA = ThrowAwayCa(START // 1000)
EVERYONE, ADMIN, AUDIT = {"nobody", "access", "auditor", "admin"}, {"admin"}, {"admin", "auditor"}

VERBS = {
    "self.logout": EVERYONE,
    "self.certificates.issue": EVERYONE,
    "self.anything": EVERYONE,
    "users.create": ADMIN,
    "users.list": ADMIN,
    "tokens.create": ADMIN,
    "nodes.list": ADMIN,
    "nodes.remove": ADMIN,
    "audit.list": AUDIT,
    "audit.get": AUDIT,
    "audit.delete": ADMIN,
    "recordings.play": AUDIT,
    "agent.renew": set(),
    "agent.report": set(),
    "agent.join": set(),
    "self": ADMIN,
    "selfish.thing": ADMIN,
    "": set(),
}
"""Which users may; who has no role is `nobody`."""


def user(roles=(), traits=None, principals=("ubuntu",), definitions=None):
    """An identity by a real SSH certificate, whose principals bound the logins."""
    spec = UserCertificateSpec(
        serial=1,
        key_id="alice",
        principals=tuple(principals),
        valid_after=START // 1000 - 300,
        valid_before=START // 1000 + 3600,
        nonce=bytes(32),
        extensions=("permit-pty",),
        roles=(),
        traits={},
    )
    blob = issue_user_certificate(CA.user_ssh, SSH_KEY.public_key(), spec)
    verified = verify_user_certificate(
        blob,
        trusted_cas=[public_key_blob(CA.user_ssh.public_key())],
        login=None,
        source_address="192.0.2.7",
        now=START // 1000,
    )
    row = UserRow(
        name="alice",
        password_hash=None,
        roles=tuple(roles),
        traits=traits or {},
        created_at=START,
        updated_at=START,
        disabled_at=None,
        failed_logins=0,
        last_failed_at=None,
        locked_until=None,
    )
    return user_of_ssh_certificate(verified, row, definitions)


@pytest.mark.parametrize("role", sorted(EVERYONE))
@pytest.mark.parametrize("verb", VERBS)
def test_verbs_by_role(verb, role):
    identity = user(() if role == "nobody" else (role,))
    decision = authorize(identity, verb, Resource(kind="thing"), CONTEXT)
    assert decision.allowed == (role in VERBS[verb])
    assert decision.decision_id == "d-1"
    assert decision.reason
    if not decision.allowed:
        assert verb in decision.reason
    elif not verb.startswith("self."):
        assert decision.role == role


def test_a_role_that_does_not_exist_grants_nothing():
    identity = user(("boss", "root"), {"logins": ("ubuntu",)})
    assert identity.definitions == ()
    assert not authorize(identity, "users.list", Resource(kind="user"), CONTEXT).allowed
    assert not authorize(identity, "nodes.connect", NODE, CONTEXT).allowed


async def test_agents_may_only_what_agents_do(world):
    """Threat A12: an agent's certificate opens nothing of users'."""
    agent = await world.agent()
    for verb in {*VERBS, *AGENT_VERBS, "nodes.connect", "agent.join", "self.api", "agent.", "agent.anything"}:
        decision = authorize(agent, verb, NODE, CONTEXT)
        assert decision.allowed == (verb in AGENT_VERBS), verb
    assert {"agent.renew", "agent.heartbeat", "agent.report", "agent.prove"} == AGENT_VERBS


def connect(identity, login, resource=NODE):
    return authorize(identity, "nodes.connect", resource, attrs.evolve(CONTEXT, login=login))


@pytest.mark.parametrize("role", ["access", "admin"])
def test_connecting_with_ones_own_logins(role):
    identity = user((role,), {"logins": ("ubuntu", "deploy")}, ("deploy", "ubuntu"))
    assert connect(identity, None).logins == ("deploy", "ubuntu")
    assert connect(identity, "ubuntu").allowed
    assert connect(identity, "ubuntu").role == role
    refused = connect(identity, "root")
    assert not refused.allowed
    assert "root" in refused.reason
    assert refused.logins == ("deploy", "ubuntu")


@pytest.mark.parametrize("roles", [(), ("auditor",), ("node",), ("auditor", "node")])
def test_roles_without_nodes(roles):
    identity = user(roles, {"logins": ("ubuntu",)})
    for login in (None, "ubuntu"):
        decision = connect(identity, login)
        assert (decision.allowed, decision.logins) == (False, ())


def test_a_user_without_logins_reaches_nothing():
    assert not connect(user(("admin",)), None).allowed
    assert not connect(user(("admin",)), "ubuntu").allowed


def test_the_certificate_bounds_the_logins():
    """Threat E9: what the user got since the certificate was issued is not in it."""
    identity = user(("access",), {"logins": ("ubuntu", "root")}, ("ubuntu",))
    assert connect(identity, None).logins == ("ubuntu",)
    decision = connect(identity, "root")
    assert not decision.allowed
    assert decision.reason == "your certificate does not list the login root"


def test_what_was_taken_away_is_gone_though_the_certificate_has_it():
    """Threat E6."""
    identity = user(("access",), {"logins": ("ubuntu",)}, ("ubuntu", "root"))
    assert connect(identity, None).logins == ("ubuntu",)
    assert not connect(identity, "root").allowed


def test_an_empty_login_is_a_login_like_any_other():
    assert not connect(user(("access",), {"logins": ("ubuntu",)}), "").allowed


LOGINS = st.sampled_from(["ubuntu", "root", "deploy", "postgres"])
ROLES = st.lists(st.sampled_from([*BUILT_IN_ROLES, "boss"]), unique=True).map(tuple)
LABELS = st.dictionaries(st.sampled_from(["env", "team"]), st.sampled_from(["prod", "dev", ""]))


@given(
    roles=ROLES,
    trait=st.lists(LOGINS, unique=True).map(tuple),
    principals=st.lists(LOGINS, unique=True, min_size=1).map(tuple),
    labels=LABELS,
    login=LOGINS | st.none(),
)
def test_connecting_against_a_naive_second_opinion(roles, trait, principals, labels, login):
    """Written from the contract, not from the code: built-in `admin` and `access` reach all nodes with the user's own
    logins, nobody else reaches any, and a certificate never adds a login.
    """
    identity = user(roles, {"logins": trait} if trait else {}, principals)
    reaches = "admin" in roles or "access" in roles
    expected = sorted(name for name in trait if reaches and name in principals)
    decision = connect(identity, login, Resource(kind="node", name="n", labels=labels))
    assert list(decision.logins) == expected
    assert decision.allowed == (bool(expected) if login is None else login in expected)


@given(
    roles=ROLES, verb=st.sampled_from(["users.list", "audit.list", "nodes.remove", "tokens.list", "self.x"])
)
def test_verbs_against_a_naive_second_opinion(roles, verb):
    expected = verb.startswith("self.") or "admin" in roles or ("auditor" in roles and verb == "audit.list")
    assert authorize(user(roles), verb, Resource(kind="x"), CONTEXT).allowed == expected


def dev(**options):
    return Role(
        name="dev",
        options=RoleOptions(**options),
        allow=Conditions(node_labels=LabelSelector.parse({"env": "prod"}), logins=("deploy",)),
    )


def user_with(*roles):
    return user(
        [role.name for role in roles], {"logins": ("ubuntu",)}, ("deploy", "ubuntu"), definitions=roles
    )


def test_what_a_session_may_do_is_up_to_the_roles_that_grant_it():
    """The strictest of them counts, and roles that do not grant this access have no say."""
    access, closed = BUILT_IN_ROLES["access"], dev(port_forwarding=False, file_copy=False)
    identity = user_with(access, closed)
    assert connect(identity, "deploy").permissions == ("agent_forwarding",)
    assert connect(identity, "ubuntu").permissions == ("agent_forwarding", "file_copy", "port_forwarding")
    assert connect(identity, None).permissions == ("agent_forwarding",)
    elsewhere = Resource(kind="node", name="web-2", labels={"env": "dev"})
    assert connect(identity, None, elsewhere).logins == ("ubuntu",)
    assert len(connect(identity, None, elsewhere).permissions) == 3
    assert connect(identity, "root").permissions == ()


@pytest.mark.parametrize(
    "options",
    [
        {"record_session": RecordSession.OFF},
    ],
)
def test_what_cannot_be_enforced_is_not_granted_e8(options):
    """A newer hub may have stored such a role; never downgrade silently."""
    name = next(iter(options))
    assert unenforced(RoleOptions(**options)) == [name]
    identity = user_with(dev(**options))
    for login in ("deploy", None):
        decision = connect(identity, login)
        assert not decision.allowed
        assert decision.reason == f"your roles ask for {name}, which this hub cannot do yet"
        assert decision.permissions == ()


PROOF = SessionProof(
    user_name="alice",
    factor=ProvenFactor.TOTP,
    at=START,
    kind=ProvenFor.NODE,
    targets=frozenset({"deploy@web-1"}),
    serial="1",
)
"""`user()` has a certificate of that serial."""


def proving(identity, login, proof=PROOF, resource=NODE, **context):
    asked = attrs.evolve(CONTEXT, login=login, proof=proof, **context)
    return authorize(identity, "nodes.connect", resource, asked)


def test_without_its_proof_a_session_is_refused_e8():
    identity = user_with(dev(require_session_mfa=SessionMfa.TOTP))
    for login in ("deploy", None):
        decision = connect(identity, login)
        assert not decision.allowed
        assert "require_session_mfa: totp" in decision.reason
        assert decision.permissions == ()
        assert decision.needs_mfa is SessionMfa.TOTP
        assert decision.unproven == decision.logins == ("deploy",)  # it is listed, and asked for


def test_a_door_that_asks_itself_is_told_what_to_ask_for():
    identity = user_with(dev(require_session_mfa=SessionMfa.TOTP))
    for login in ("deploy", None):
        decision = proving(identity, login, None, asks_proof=True)
        assert decision.allowed
        assert decision.needs_mfa is SessionMfa.TOTP
        assert decision.unproven == ("deploy",)
    assert not proving(identity, "root", None, asks_proof=True).allowed


def test_a_proof_counts():
    identity = user_with(dev(require_session_mfa=SessionMfa.TOTP))
    decision = proving(identity, "deploy")
    assert decision.allowed
    assert decision.needs_mfa is SessionMfa.NONE
    assert decision.unproven == ()
    assert proving(identity, None).allowed  # all its logins are covered


@pytest.mark.parametrize(
    "changed",
    [
        {"user_name": "bob"},
        {"serial": "2"},
        {"serial": ""},
        {"kind": ProvenFor.APP},
        {"targets": frozenset({"deploy@web-2"})},
        {"targets": frozenset({"root@web-1"})},
        {"targets": frozenset()},
    ],
)
def test_a_proof_of_something_else_does_not_e7(changed):
    identity = user_with(dev(require_session_mfa=SessionMfa.ANY))
    assert not proving(identity, "deploy", attrs.evolve(PROOF, **changed)).allowed


def test_the_certificate_that_the_agent_was_shown_counts():
    identity = user_with(dev(require_session_mfa=SessionMfa.ANY))
    assert not proving(identity, "deploy", serial="7").allowed
    assert proving(identity, "deploy", attrs.evolve(PROOF, serial="7"), serial="7").allowed


def test_the_strictest_of_the_granting_roles_wins():
    mild = Role(
        name="mild",
        options=RoleOptions(require_session_mfa=SessionMfa.ANY),
        allow=Conditions(node_labels=LabelSelector.parse({"*": "*"}), logins=("deploy", "ubuntu")),
    )
    identity = user_with(mild, dev(require_session_mfa=SessionMfa.WEBAUTHN))
    assert connect(identity, "deploy").needs_mfa is SessionMfa.WEBAUTHN
    assert connect(identity, "ubuntu").needs_mfa is SessionMfa.ANY
    assert connect(identity, None).needs_mfa is SessionMfa.WEBAUTHN
    assert not proving(identity, "deploy").allowed
    assert proving(identity, "deploy", attrs.evolve(PROOF, factor=ProvenFactor.HARDWARE_KEY)).allowed
    decision = proving(identity, None, attrs.evolve(PROOF, targets=frozenset({"web-1"})), asks_proof=True)
    assert decision.logins == ("deploy", "ubuntu")
    assert decision.unproven == ("deploy",)


def test_permissions_of_sessions():
    everything = ("agent_forwarding", "file_copy", "port_forwarding")
    assert session_permissions(user(("access",))) == everything
    assert session_permissions(user(("access", "auditor"))) == everything
    assert session_permissions(user()) == ()
    assert session_permissions(user(("boss",))) == ()


def test_deciding_changes_nothing_and_awaits_nothing():
    identity = user(("access",), {"logins": ("ubuntu",)})
    assert isinstance(connect(identity, None), Decision)
    assert connect(identity, None) == connect(identity, None)
    with pytest.raises(RuntimeError):
        trio.current_time()
