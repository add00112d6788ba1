# SPDX-License-Identifier: Apache-2.0
"""`mezite.v1.SessionService` over a connection."""

from mezite.api.pb.mezite.v1 import sessions_pb2 as pb
from mezite.api.rpc import StatusCode
from mezite.storage import node_sessions
from mezite.storage.node_sessions import NewNodeSession, NodeSessionKind, NodeSessionOutcome
from tests.api.services import calling_as
from tests.services.world import START


async def test_sessions_on_all_hubs(world):
    session = NewNodeSession(
        session_id="s-1",
        connection_id="c-1",
        hub_id="hub-9",
        agent_id="a-1",
        node_name="web-1",
        user_name="alice",
        login="ubuntu",
        kind=NodeSessionKind.SHELL,
        client_ip="192.0.2.1:5",
    )
    await world.database.write(node_sessions.start, session=session, now=START)
    async with calling_as(world) as call:
        (listed,) = (await call("SessionService/ListSessions")).sessions
        assert (listed.id, listed.user_name, listed.login, listed.node_name) == (
            "s-1",
            "alice",
            "ubuntu",
            "web-1",
        )
        assert (listed.kind, listed.hub_id, listed.started_at_ms, listed.ended_at_ms) == (
            "shell",
            "hub-9",
            START,
            0,
        )
        assert await call("SessionService/GetSession", pb.GetSessionRequest(id="s-1")) == listed
        killed = await call("SessionService/KillSession", pb.KillSessionRequest(id="s-1", reason="odd"))
        assert (killed.killed_by, killed.kill_reason) == ("root", "odd")
        await world.database.write(
            node_sessions.end, session_id="s-1", outcome=NodeSessionOutcome(), now=START + 1
        )
        assert list((await call("SessionService/ListSessions")).sessions) == []
        error = await call.refused("SessionService/KillSession", pb.KillSessionRequest(id="s-1"))
        assert error.status is StatusCode.ALREADY_EXISTS
        error = await call.refused("SessionService/GetSession", pb.GetSessionRequest(id="s-2"))
        assert error.status is StatusCode.NOT_FOUND


async def test_logins_of_everybody(world):
    alice = await world.user("alice")
    async with calling_as(world) as call:
        (listed,) = (
            await call("SessionService/ListLoginSessions", pb.ListLoginSessionsRequest(user_name="alice"))
        ).sessions
        assert (listed.kind, listed.user_name, listed.created_at_ms) == ("api", "alice", START)
        assert listed.id == alice.session_hash[:32]
        ended = await call("SessionService/RevokeSession", pb.RevokeSessionRequest(id=listed.id))
        assert ended == listed
        error = await call.refused("SessionService/RevokeSession", pb.RevokeSessionRequest(id=listed.id))
        assert error.status is StatusCode.NOT_FOUND
