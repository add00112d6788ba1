# SPDX-License-Identifier: Apache-2.0
"""From a user and a name to a channel into the node's agent, through a real mux session."""

import json
import re

import pytest
import trio
import trio.testing

from mezite.core.mux.error_codes import ErrorCode
from mezite.services.errors import (
    AccessDeniedError,
    InvalidRequestError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from mezite.services.nodes.access import MAX_LOGINS_BYTES, MAX_NAME
from mezite.services.nodes.live_connections import SessionReport
from mezite.storage import agents
from tests.services.tunnels import Closings, connected, echo
from tests.services.world import CLIENT, HOUR, START, open_world


def connect(world, user, node="web-1", login="ubuntu"):
    return world.access.connect(user, node, login=login, client_address=CLIENT)


async def refused(world, user, node="web-1", login="ubuntu", error=Exception):
    with pytest.raises(error) as caught:
        async with connect(world, user, node, login):
            pytest.fail("it was let in")
    return caught.value


def without_event(error):
    return re.sub(r" \(event .*\)", "", str(error))


async def test_a_channel_into_a_node(world):
    user, agent = await world.user("alice"), await world.agent("web-1", env="prod")
    headers = []

    async def serve(pending):
        headers.append(pending.header)
        await echo(pending)

    async with connected(world, agent, serve), connect(world, user) as channel:
        await channel.send_all(b"SSH-2.0-x\r\n")
        assert await channel.receive_some() == b"SSH-2.0-x\r\n"
        await channel.send_eof()
        assert await channel.receive_some() == b""
    (header,) = headers
    assert (header.kind, header.target, header.user, header.client_address) == (
        "ssh",
        "web-1",
        "alice",
        CLIENT,
    )
    assert header.attributes["logins"] == "ubuntu"
    assert header.attributes["permissions"] == "agent_forwarding,file_copy,port_forwarding"
    assert header.attributes["decision_id"]
    assert header.trace_id
    assert header.deadline_ms == 15_000


@pytest.mark.parametrize("login", [None, ""])
async def test_without_a_login_all_that_are_allowed_are_told(world, login):
    user, agent = await world.user("alice", logins=("ubuntu", "deploy")), await world.agent()
    seen = []

    async def serve(pending):
        seen.append(pending.header.attributes["logins"])
        await echo(pending)

    async with connected(world, agent, serve), connect(world, user, login=login):
        assert seen == ["deploy,ubuntu"]


async def test_the_agent_may_report_about_this_connection_while_it_lasts(world):
    """Threats G5, H4: and what it does not report as ended is ended with the channel."""
    user, agent = await world.user("alice"), await world.agent()
    ids = []

    async def serve(pending):
        ids.append(pending.header.trace_id)
        await echo(pending)

    report = SessionReport(
        connection_id="", session_id="s-1", login="ubuntu", kind="shell", command="", pty=True
    )
    async with connected(world, agent, serve):
        async with connect(world, user):
            await world.connections.session_started(agent, with_connection(report, ids[0]))
            assert await world.events("session.end") == []
        (event,) = await world.events("session.end")
        assert event["reason"] == "the connection ended"
        with pytest.raises(NotFoundError):
            await world.connections.session_started(agent, with_connection(report, ids[0]))


def with_connection(report, connection_id):
    return SessionReport(
        connection_id=connection_id,
        session_id=report.session_id,
        login=report.login,
        kind=report.kind,
        command=report.command,
        pty=report.pty,
    )


async def test_sessions_end_though_the_user_is_cancelled(world):
    user, agent = await world.user("alice"), await world.agent()
    ids = []

    async def serve(pending):
        ids.append(pending.header.trace_id)
        await echo(pending)

    async with connected(world, agent, serve):
        with trio.CancelScope() as scope:
            async with connect(world, user):
                report = SessionReport(
                    connection_id=ids[0], session_id="s-1", login="ubuntu", kind="shell", command="", pty=True
                )
                await world.connections.session_started(agent, report)
                scope.cancel()
                await trio.sleep_forever()
    assert len(await world.events("session.end")) == 1


async def test_not_there_and_not_allowed_look_the_same(world):
    """Names of nodes are not to be guessed."""
    await world.agent("web-1", env="prod")
    for roles, logins in (((), ("ubuntu",)), (("auditor",), ("ubuntu",)), (("access",), ())):
        user = await world.user(f"u{len(roles)}{len(logins)}{''.join(roles)}", roles=roles, logins=logins)
        there = await refused(world, user, "web-1", error=NotFoundError)
        missing = await refused(world, user, "web-9", error=NotFoundError)
        assert without_event(there).replace("web-1", "") == without_event(missing).replace("web-9", "")
        for error in (there, missing):
            assert error.event_id in str(error)


async def test_every_refusal_is_audited_with_its_reason(world):
    """The user learns little, the administrator all."""
    user = await world.user("alice", roles=())
    await world.agent("web-1", env="prod")
    first = await refused(world, user, "web-1", "root", NotFoundError)
    second = await refused(world, user, "web-9", "root", NotFoundError)
    one, two = await world.events("access.denied")
    assert (one["id"], two["id"]) == (first.event_id, second.event_id)
    assert one["error_message"] == "no role allows this node"
    assert one["resource_labels"] == {"env": "prod"}
    assert two["error_message"] == "there is no such node"
    for event in (one, two):
        assert (event["user_name"], event["login"], event["success"]) == ("alice", "root", False)
        assert event["decision_id"]


async def test_a_login_that_is_not_allowed(world):
    user = await world.user("alice", logins=("ubuntu", "deploy"))
    await world.agent()
    error = await refused(world, user, login="root", error=AccessDeniedError)
    assert "login root on node web-1 is not allowed" in str(error)
    assert "you may log in as deploy, ubuntu" in str(error)
    assert error.event_id in str(error)


@pytest.mark.parametrize("name", ["", "WEB-1", "web-1\0", "x" * 10_000, "*", "../web-1", "ü", "-web"])
async def test_names_that_no_node_can_have(world, name):
    user = await world.user("alice")
    await world.agent()
    error = await refused(world, user, name, error=NotFoundError)
    assert len(str(error)) < 2 * MAX_NAME
    (event,) = await world.events("access.denied")
    assert len(event["resource_name"]) <= MAX_NAME


async def test_an_expired_credential(world):
    """A connection can be older than what it was opened with."""
    user = await world.user("alice")
    await world.agent()
    world.clock.now += 12 * HOUR
    await refused(world, user, error=UnauthenticatedError)


async def test_offline_since(world):
    user, agent = await world.user("alice"), await world.agent()
    error = await refused(world, user, error=UnavailableError)
    assert "web-1 is offline since it was created" in str(error)
    epoch = await world.leases.begin(agent, CLIENT)
    world.clock.now += HOUR
    await world.leases.end(agent, epoch)
    error = await refused(world, user, error=UnavailableError)
    assert "offline since 2027-01-15T09:00:00" in str(error)
    assert "check that mezd runs there" in str(error)


async def test_a_locked_agent_is_not_dialled(world):
    """Threat E14: though its tunnel is still up."""
    user, agent = await world.user("alice"), await world.agent()
    with world.registry.claim(Closings().tunnel(agent.agent_id)):
        await world.database.write(agents.lock, agent_id=agent.agent_id, reason="lost laptop", now=START)
        error = await refused(world, user, error=UnavailableError)
    assert "is locked: lost laptop" in str(error)


async def test_a_removed_node_is_not_found(world):
    user, agent = await world.user("alice"), await world.agent()
    await world.database.write(agents.remove, agent_id=agent.agent_id, now=START)
    await refused(world, user, error=NotFoundError)


async def test_an_agent_that_refuses(world):
    user, agent = await world.user("alice"), await world.agent()

    async def serve(pending):
        pending.reject(ErrorCode.REFUSED, "too many sessions")

    async with connected(world, agent, serve):
        error = await refused(world, user, error=UnavailableError)
        assert "web-1 refused the connection" in str(error)
        assert "too many sessions" in str(error)


async def test_an_agent_that_does_not_answer(world, mock_clock):
    user, agent = await world.user("alice"), await world.agent()
    asked = trio.Event()

    async def serve(_pending):
        asked.set()
        await trio.sleep_forever()

    async def turn():
        await asked.wait()
        # A second at a time, so that the tunnel's own pings are answered in between.
        while True:
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(1)

    async with connected(world, agent, serve), trio.open_nursery() as nursery:
        nursery.start_soon(turn)
        error = await refused(world, user, error=UnavailableError)
        nursery.cancel_scope.cancel()
    assert "does not answer within 15 s" in str(error)


async def test_a_tunnel_that_breaks_while_dialling(world):
    user, agent = await world.user("alice"), await world.agent()
    pairs = []

    async def serve(_pending):
        await pairs[0].streams[0].aclose()

    async with connected(world, agent, serve) as pair:
        pairs.append(pair)
        error = await refused(world, user, error=UnavailableError)
    assert "its tunnel just broke; try again" in str(error)


async def test_too_many_logins_to_list(world):
    """A header has 4 KiB; with one login named there is no limit."""
    logins = tuple(f"login-number-{number:04}" for number in range(MAX_LOGINS_BYTES // 15))
    user, agent = await world.user("alice", logins=logins), await world.agent()
    async with connected(world, agent, echo):
        await refused(world, user, login=None, error=InvalidRequestError)
        async with connect(world, user, login=logins[-1]):
            pass


async def test_roles_of_now_decide(world):
    """Threat E6: an identity made anew sees the change."""
    await world.user("alice")
    await world.agent()
    await world.accounts.update("alice", roles=(), traits=None, by="root")
    await refused(world, await world.session("alice"), error=NotFoundError)


async def role(world, **options):
    spec = {"options": options, "allow": {"node_labels": {"*": "*"}, "logins": ["ubuntu"]}}
    document = {"kind": "role", "version": "v1", "metadata": {"name": "limited"}, "spec": spec}
    await world.roles.put(json.dumps(document), by="root", client_address=CLIENT)


async def test_the_agent_is_told_of_the_idle_timeout(world):
    await role(world, idle_timeout="10m")
    seen = []

    async def serve(pending):
        seen.append(pending.header.attributes["idle_timeout"])
        await echo(pending)

    alice, bob = await world.user("alice", roles=("limited", "access")), await world.user("bob")
    async with connected(world, await world.agent(), serve):
        for user in (alice, bob):
            for login in ("ubuntu", None):
                async with connect(world, user, login=login):
                    pass
    assert seen == ["600", "600", "0", "0"]


@pytest.mark.parametrize("login", ["ubuntu", None])
async def test_no_more_connections_than_the_roles_allow(world, login):
    await role(world, max_connections=2)
    alice, bob = await world.user("alice", roles=("limited",)), await world.user("bob")
    async with connected(world, await world.agent(), echo):
        async with connect(world, alice, login=login), connect(world, alice, login=login):
            error = await refused(world, alice, login=login, error=AccessDeniedError)
            assert "you may have 2 connections at a time, and have them: end one first" in str(error)
            (event,) = await world.events("access.denied")
            assert event["id"] == error.event_id
            async with connect(world, bob), connect(world, bob), connect(world, bob):
                pass
        async with connect(world, alice, login=login):
            pass


async def test_a_place_is_given_back_however_the_connection_ends(world):
    await role(world, max_connections=1)
    alice = await world.user("alice", roles=("limited",))
    agent = await world.agent()
    await refused(world, alice, error=UnavailableError)

    async def refuse(pending):
        pending.reject(ErrorCode.REFUSED, "too many sessions")

    async with connected(world, agent, refuse):
        await refused(world, alice, error=UnavailableError)
    async with connected(world, agent, echo):
        with trio.CancelScope() as scope:
            async with connect(world, alice):
                scope.cancel()
                await trio.sleep_forever()
        async with connect(world, alice):
            pass


async def test_connections_on_all_hubs_count(database_path):
    async with (
        open_world(database_path) as here,
        open_world(database_path, hub_id="hub-2", start=500) as there,
    ):
        await role(here, max_connections=1)
        alice, agent = await here.user("alice", roles=("limited",)), await here.agent()
        async with connected(here, agent, echo), connect(here, alice), connected(there, agent, echo):
            await refused(there, await there.session("alice"), error=AccessDeniedError)
