# SPDX-License-Identifier: Apache-2.0
"""Who may use an application: the one decision, asked with `apps.connect`."""

import json

import attrs
import pytest

from mezite.core.rbac.locks import Lock, LockSet, LockTarget
from mezite.core.rbac.role_options import SessionMfa
from mezite.core.rbac.session_mfa import ProvenFactor, ProvenFor, SessionProof
from mezite.services.access.authorization import AccessContext, Resource, authorize
from mezite.storage import roles
from tests.services.world import CLIENT

CONTEXT = AccessContext(client_address=CLIENT, decision_id="d-1")
PROD = Resource(kind="app", name="grafana", labels={"env": "prod"})


def connect(identity, resource=PROD, **circumstances):
    return authorize(identity, "apps.connect", resource, attrs.evolve(CONTEXT, **circumstances))


async def user_with_role(world, *, deny=None, **options):
    spec = {"allow": {"app_labels": {"env": ["prod", "staging"]}}, "options": options}
    if deny:
        spec["deny"] = {"app_labels": deny}
    document = {"kind": "role", "version": "v1", "metadata": {"name": "apps"}, "spec": spec}
    await world.roles.put(json.dumps(document), by="root", client_address=CLIENT)
    return await world.user("bob", roles=("apps",), logins=())


@pytest.mark.parametrize(
    ("role", "allowed"), [("access", True), ("admin", True), ("auditor", False), ("node", False)]
)
async def test_built_in_roles(world, role, allowed):
    decision = connect(await world.user("alice", roles=(role,), logins=()))
    assert (decision.allowed, decision.role) == (allowed, role if allowed else "")


async def test_labels_decide(world):
    bob = await user_with_role(world)
    assert connect(bob).reason == "role apps allows it"
    refused = connect(bob, Resource(kind="app", name="wiki", labels={"env": "dev"}))
    assert (refused.allowed, refused.reason, refused.decision_id) == (
        False,
        "no role allows this application",
        "d-1",
    )
    assert not connect(bob, Resource(kind="app", name="wiki")).allowed


async def test_deny_wins(world):
    decision = connect(await user_with_role(world, deny={"env": "prod"}))
    assert (decision.allowed, decision.role) == (False, "apps")
    assert decision.reason == "role apps denies it by its labels"


async def test_labels_of_nodes_say_nothing_about_applications(world):
    document = {
        "kind": "role",
        "version": "v1",
        "metadata": {"name": "nodes"},
        "spec": {"allow": {"node_labels": {"*": "*"}, "logins": ["ubuntu"]}},
    }
    await world.roles.put(json.dumps(document), by="root", client_address=CLIENT)
    assert not connect(await world.user("bob", roles=("nodes",), logins=())).allowed


@pytest.mark.parametrize("target", [LockTarget.USER, LockTarget.ROLE])
async def test_a_lock_comes_before_all(world, target):
    alice = await world.user("alice", logins=())
    name = "alice" if target is LockTarget.USER else "access"
    locks = LockSet([Lock(id="l-1", target=target, name=name, message="incident")])
    decision = connect(alice, locks=locks)
    assert (decision.allowed, decision.lock_id) == (False, "l-1")


async def test_limits_of_the_roles_that_allow_it(world):
    decision = connect(await user_with_role(world, idle_timeout="5m", max_connections=3))
    assert (decision.idle_timeout, decision.max_connections) == (300, 3)


async def test_tcp_is_refused_where_a_trusted_device_is_asked_for(world):
    """Never downgraded silently (page on application access)."""
    bob = await user_with_role(world, require_trusted_device=True)
    assert connect(bob, over_tcp=True).reason == (
        "your roles ask for a trusted device, which a TCP application cannot check"
    )
    assert "no browser can show" in connect(bob).reason


async def test_agents_use_no_applications(world):
    assert not connect(await world.agent()).allowed


async def asking(world):
    """Bob, whose role asks for a factor."""
    bob = await user_with_role(world)
    spec = {"allow": {"app_labels": {"*": "*"}}, "options": {"require_session_mfa": "totp"}}
    document = {"kind": "role", "version": "v1", "metadata": {"name": "apps"}, "spec": spec}
    await world.database.write(roles.put, name="apps", document=json.dumps(document), now=world.clock.now)
    return await world.session(bob.name)


async def test_a_second_factor_for_each_session_e8(world):
    bob = await asking(world)
    refused = connect(bob)
    assert (refused.allowed, refused.needs_mfa) == (False, SessionMfa.TOTP)
    asked = connect(bob, asks_proof=True)
    assert (asked.allowed, asked.needs_mfa) == (True, SessionMfa.TOTP)
    proof = SessionProof(
        user_name="bob", factor=ProvenFactor.TOTP, at=1, kind=ProvenFor.APP, targets=frozenset({"grafana"})
    )
    proven = connect(bob, proof=proof)
    assert (proven.allowed, proven.needs_mfa) == (True, SessionMfa.NONE)
    wiki = Resource(kind="app", name="wiki", labels={"env": "prod"})
    assert not connect(bob, wiki, proof=proof).allowed
    assert not connect(bob, proof=attrs.evolve(proof, user_name="alice")).allowed


async def test_tcp_is_refused_where_a_second_factor_is_asked_for(world):
    bob = await asking(world)
    proof = SessionProof(
        user_name="bob", factor=ProvenFactor.TOTP, at=1, kind=ProvenFor.APP, targets=frozenset({"grafana"})
    )
    for circumstances in ({}, {"proof": proof}, {"asks_proof": True}):
        decision = connect(bob, over_tcp=True, **circumstances)
        assert not decision.allowed
        assert decision.reason == (
            "your roles ask for a second factor for each session, which a TCP application cannot ask for"
        )
