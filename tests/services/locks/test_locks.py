# SPDX-License-Identifier: Apache-2.0
"""Locks: made, in force at every credential check and decision, lifted (threats E6, E8, E14, F8)."""

import attrs
import pytest

from mezite.core.rbac.locks import LockTarget
from mezite.services.errors import (
    AccessDeniedError,
    ConflictError,
    InvalidRequestError,
    LockedError,
    NotFoundError,
)
from mezite.services.locks.locks import MAX_LOCKS, MAX_MESSAGE
from mezite.services.login.password_login import LoginRefusedError
from mezite.storage import locks as rows
from tests.services.tunnels import connected, echo
from tests.services.world import CLIENT, HOUR, certificate_der, open_world

WORDS = "lost laptop, ask Ann"


async def lock(world, target, name, *, ttl_seconds=0, message=WORDS):
    root = await administrator(world)
    return await world.locks.create(
        target, name, message=message, ttl_seconds=ttl_seconds, by=root, client_address=CLIENT
    )


async def administrator(world):
    try:
        return await world.user("root", roles=("admin",))
    except ConflictError:
        return await world.session("root")


async def test_made_and_lifted_with_both_in_the_audit_log(world):
    made = await lock(world, LockTarget.USER, "alice", ttl_seconds=60)
    assert made.row.expires_at == made.row.created_at + 60_000
    assert [known.row for known in await world.locks.list_locks()] == [made.row]
    root = await world.session("root")
    await world.locks.delete(made.row.id, by=root, client_address=CLIENT)
    assert await world.locks.list_locks() == []
    with pytest.raises(NotFoundError):
        await world.locks.delete(made.row.id, by=root, client_address=CLIENT)
    (created,), (deleted,) = await world.events("lock.created"), await world.events("lock.deleted")
    for event in (created, deleted):
        assert (event["user_name"], event["resource_type"], event["resource_name"]) == (
            "root",
            "user",
            "alice",
        )
        assert (event["lock_id"], event["reason"]) == (made.row.id, WORDS)


@pytest.mark.parametrize(
    ("target", "name", "warning"),
    [
        (LockTarget.USER, "alice", ""),
        (LockTarget.USER, "alicia", "there is no user alicia: did you mean alice? The lock holds"),
        (LockTarget.USER, "zoe", "there is no user zoe: The lock holds"),
        (LockTarget.ROLE, "auditor", ""),
        (LockTarget.ROLE, "auditors", "there is no role auditors: did you mean auditor?"),
        (LockTarget.NODE, "web-1", ""),
        (LockTarget.NODE, "web1", "did you mean web-1?"),
        (LockTarget.AGENT, "0" * 32, "there is no agent 000"),
        (LockTarget.LOGIN, "nobody-has-it", ""),
        (LockTarget.SERIAL, "7", ""),
    ],
)
async def test_a_name_that_nothing_has_is_locked_with_a_warning(world, target, name, warning):
    """In an emergency a typo must not look like a lock that took effect."""
    await world.user("alice")
    await world.agent("web-1")
    made = await lock(world, target, name)
    assert bool(made.warning) == bool(warning)
    assert warning in made.warning
    assert [known.row.id for known in await world.locks.list_locks()] == [made.row.id]


async def test_every_credential_of_a_locked_user_is_refused(world):
    """Threats E6, F8: session, X.509 and SSH certificate, and a session that is started while the lock holds."""
    alice, token = await world.user("alice"), await world.token("alice")
    issued = await world.issue(alice)
    made = await lock(world, LockTarget.USER, "alice")
    der = certificate_der(issued.certificates.tls_certificate_pem)
    for check in (
        lambda: world.authenticator.by_session(token),
        lambda: world.authenticator.by_tls_certificate(der),
        lambda: world.by_ssh_certificate(issued),
    ):
        with pytest.raises(LockedError, match=f"user alice is locked .lock {made.row.id}.: {WORDS}"):
            await check()
    await world.locks.delete(made.row.id, by=await world.session("root"), client_address=CLIENT)
    assert (await world.authenticator.by_session(token)).name == "alice"


async def test_the_login_of_a_locked_user_says_so(world):
    """To whoever has the password; a wrong one learns nothing. No session is started (threat E6)."""
    await world.user("alice")
    made = await lock(world, LockTarget.USER, "alice")
    with pytest.raises(LockedError, match=f"lock {made.row.id}.*{WORDS}") as locked:
        await world.token("alice")
    (event,) = await world.events("user.login.failed")
    assert (event["id"], event["user_name"]) == (locked.value.event_id, "alice")
    with pytest.raises(LoginRefusedError, match="wrong user name or password"):
        await world.login.with_password("alice", "wrong", client_address=CLIENT)


async def test_a_lock_on_a_role_is_on_everybody_who_has_it_now(world):
    await world.user("alice", roles=("access",))
    token = await world.token("alice")
    await lock(world, LockTarget.ROLE, "auditor")
    await world.authenticator.by_session(token)
    await world.accounts.update("alice", roles=("access", "auditor"), traits=None, by="root")
    with pytest.raises(LockedError, match="role auditor is locked"):
        await world.authenticator.by_session(token)


async def test_a_lock_on_a_serial_is_on_that_pair_of_certificates(world):
    alice = await world.user("alice")
    stolen, kept = await world.issue(alice), await world.issue(alice)
    await lock(world, LockTarget.SERIAL, str(stolen.certificates.serial))
    for check in (world.by_certificate, world.by_ssh_certificate):
        await check(kept)
        with pytest.raises(LockedError, match="serial"):
            await check(stolen)


async def test_a_locked_agent(world):
    enrolled = await world.join("web-1")
    agent = await world.agent_of(enrolled)
    await lock(world, LockTarget.AGENT, agent.agent_id)
    for check in (world.agent_of(enrolled), world.authenticator.still(agent)):
        with pytest.raises(LockedError, match=f"agent {agent.agent_id} is locked"):
            await check


@pytest.mark.parametrize("target", [LockTarget.NODE, LockTarget.AGENT, LockTarget.LOGIN])
async def test_connections_to_what_is_locked(world, target):
    alice, agent = await world.user("alice", logins=("ubuntu", "deploy")), await world.agent("web-1")
    name = {LockTarget.NODE: "web-1", LockTarget.AGENT: agent.agent_id, LockTarget.LOGIN: "deploy"}[target]
    made = await lock(world, target, name)
    async with connected(world, agent, echo):
        with pytest.raises(AccessDeniedError, match=f"lock {made.row.id}.*{WORDS}"):
            async with world.access.connect(alice, "web-1", login="deploy", client_address=CLIENT):
                pytest.fail("it was let in")
    (event,) = await world.events("access.denied")
    assert made.row.id in event["error_message"]


async def test_a_lock_tells_nobody_that_a_node_is_there(world):
    await world.agent("web-1")
    nobody = await world.user("nobody", roles=())
    await lock(world, LockTarget.NODE, "web-1")
    with pytest.raises(NotFoundError, match="not found, or you have no login there"):
        async with world.access.connect(nobody, "web-1", login="ubuntu", client_address=CLIENT):
            pytest.fail("it was let in")


async def test_the_other_logins_stay(world):
    """With a login locked, an agent is told the others only; with all locked, there is no connection."""
    alice, agent = await world.user("alice", logins=("ubuntu", "deploy")), await world.agent("web-1")
    seen = []

    async def serve(pending):
        seen.append(pending.header.attributes["logins"])
        await echo(pending)

    await lock(world, LockTarget.LOGIN, "deploy")
    async with connected(world, agent, serve):
        async with world.access.connect(alice, "web-1", login=None, client_address=CLIENT):
            assert seen == ["ubuntu"]
        await lock(world, LockTarget.LOGIN, "ubuntu")
        with pytest.raises(AccessDeniedError, match="login deploy is locked"):
            async with world.access.connect(alice, "web-1", login=None, client_address=CLIENT):
                pytest.fail("it was let in")


async def test_locked_nodes_are_not_offered(world):
    alice = await world.user("alice")
    for name in ("web-1", "web-2"):
        await world.agent(name)
    await lock(world, LockTarget.NODE, "web-1")

    async def names(identity):
        nodes = await world.directory.list_nodes(identity, labels={}, search="", client_address=CLIENT)
        return [node.agent.node_name for node in nodes]

    assert await names(alice) == ["web-2"]
    assert await names(await world.session("root")) == ["web-1", "web-2"]


async def test_a_lock_that_has_run_out(world):
    await world.user("alice")
    token = await world.token("alice")
    await lock(world, LockTarget.USER, "alice", ttl_seconds=3600)
    world.clock.now += HOUR - 1
    with pytest.raises(LockedError):
        await world.authenticator.by_session(token)
    world.clock.now += 1
    assert (await world.authenticator.by_session(token)).name == "alice"
    assert await world.locks.list_locks() == []


@pytest.mark.parametrize(
    ("target", "name"), [(LockTarget.USER, "root"), (LockTarget.ROLE, "admin"), (LockTarget.ROLE, "access")]
)
async def test_nobody_locks_themselves_out(world, target, name):
    """Or the last administrator would be gone."""
    root = await world.user("root", roles=("admin", "access"))
    with pytest.raises(InvalidRequestError, match="would lock you out"):
        await world.locks.create(target, name, message=WORDS, by=root, client_address=CLIENT)
    assert await world.locks.list_locks() == []


@pytest.mark.parametrize(
    ("target", "name", "message", "ttl_seconds"),
    [
        (LockTarget.USER, "", WORDS, 0),
        (LockTarget.USER, "Alice Smith", WORDS, 0),
        (LockTarget.NODE, "-web", WORDS, 0),
        (LockTarget.LOGIN, "a b", WORDS, 0),
        (LockTarget.ROLE, "a,b", WORDS, 0),
        (LockTarget.AGENT, "../1", WORDS, 0),
        (LockTarget.SERIAL, "0x1f", WORDS, 0),
        (LockTarget.SERIAL, "007", WORDS, 0),
        (LockTarget.SERIAL, "9" * 21, WORDS, 0),
        (LockTarget.USER, "alice", "", 0),
        (LockTarget.USER, "alice", "  ", 0),
        (LockTarget.USER, "alice", "two\nlines", 0),
        (LockTarget.USER, "alice", "\x1b[2J", 0),
        (LockTarget.USER, "alice", "x" * (MAX_MESSAGE + 1), 0),
        (LockTarget.USER, "alice", WORDS, -1),
        (LockTarget.USER, "alice", WORDS, 2**60),
    ],
)
async def test_locks_that_cannot_be(world, target, name, message, ttl_seconds):
    with pytest.raises(InvalidRequestError):
        await lock(world, target, name, message=message, ttl_seconds=ttl_seconds)
    assert await world.locks.list_locks() == []


async def test_too_many_locks(world):
    def fill(conn):
        for number in range(MAX_LOCKS):
            rows.insert(conn, row=attrs.evolve(made.row, id=f"l-{number}"))

    made = await lock(world, LockTarget.USER, "alice")
    await world.locks.delete(made.row.id, by=await world.session("root"), client_address=CLIENT)
    await world.database.write(fill)
    with pytest.raises(ConflictError, match="1000 locks already"):
        await lock(world, LockTarget.USER, "bob")


async def test_a_lock_made_on_another_hub(database_path):
    """Threat E14: known here after the next look, and lifted as soon."""
    async with (
        open_world(database_path) as here,
        open_world(database_path, hub_id="hub-2", start=500) as there,
    ):
        await here.user("alice")
        token = await here.token("alice")
        await there.watch.look()
        made = await lock(here, LockTarget.USER, "alice")
        await there.watch.look()
        with pytest.raises(LockedError):
            await there.authenticator.by_session(token)
        await here.locks.delete(made.row.id, by=await here.session("root"), client_address=CLIENT)
        await there.watch.look()
        assert (await there.authenticator.by_session(token)).name == "alice"
