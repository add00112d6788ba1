# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from mezite.agent.hub_api import WAIT_SECONDS, HubApi, HubApiError
from mezite.api.client import RpcError, StatusCode
from mezite.api.pb.mezite.v1 import enrollment_pb2 as pb
from tests.agent.fake_api import FakeClient, refusing

BEAT = pb.AgentHeartbeatRequest(version="1")


async def test_each_method_calls_its_rpc() -> None:
    api, client = HubApi(), FakeClient()
    api.attach(client)
    assert await api.renew(pb.RenewAgentIdentityRequest()) == pb.AgentIdentity()
    assert await api.heartbeat(BEAT) == pb.AgentHeartbeatResponse()
    await api.report_session_start(pb.ReportSessionStartRequest())
    await api.report_session_end(pb.ReportSessionEndRequest())
    await api.report_refusal(pb.ReportRefusalRequest())
    assert client.names == [
        "RenewAgentIdentity",
        "AgentHeartbeat",
        "ReportSessionStart",
        "ReportSessionEnd",
        "ReportRefusal",
    ]


async def test_without_a_tunnel_a_call_fails_after_ten_seconds(autojump_clock: MockClock) -> None:
    begin = trio.current_time()
    with pytest.raises(HubApiError, match="AgentHeartbeat: there has been no tunnel to a hub for 10 s"):
        await HubApi().heartbeat(BEAT)
    assert trio.current_time() - begin == WAIT_SECONDS


async def test_a_call_waits_for_the_next_tunnel(autojump_clock: MockClock) -> None:
    api, client = HubApi(), FakeClient()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(api.heartbeat, BEAT)
        await trio.sleep(9)
        assert client.calls == []
        api.attach(client)
    assert client.names == ["AgentHeartbeat"]


async def test_detaching_keeps_a_newer_client(autojump_clock: MockClock) -> None:
    api, old, new = HubApi(), FakeClient(), FakeClient()
    api.attach(old)
    api.attach(new)
    api.detach(old)
    await api.heartbeat(BEAT)
    assert (old.calls, new.names) == ([], ["AgentHeartbeat"])
    api.detach(new)
    with pytest.raises(HubApiError, match="no tunnel"):
        await api.heartbeat(BEAT)


async def test_a_tunnel_that_goes_while_a_call_waits(autojump_clock: MockClock) -> None:
    """The waiting call does not take the first event for the last word."""
    api, gone, client = HubApi(), FakeClient(), FakeClient()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(api.heartbeat, BEAT)
        await wait_all_tasks_blocked()
        api.attach(gone)
        api.detach(gone)
        await trio.sleep(1)
        api.attach(client)
    assert (gone.calls, client.names) == ([], ["AgentHeartbeat"])


async def test_a_client_whose_connection_has_ended_is_not_called() -> None:
    """A hub ends HTTP/2 connections that are idle or old; the tunnel offers another one when a call needs it."""
    api, old, new = HubApi(), FakeClient(), FakeClient()
    spent = api.attach(old)
    old.is_usable = False
    assert not spent.is_set()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(api.heartbeat, BEAT)
        await spent.wait()
        api.attach(new)
    assert (old.calls, new.names) == ([], ["AgentHeartbeat"])


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (RpcError(StatusCode.PERMISSION_DENIED, "agent is locked: why; what"), "agent is locked: why; what"),
        (RpcError(StatusCode.INTERNAL, ""), "INTERNAL"),
    ],
)
async def test_a_refusal_has_the_hubs_text(error: RpcError, text: str) -> None:
    api = HubApi()
    api.attach(FakeClient(refusing(error)))
    with pytest.raises(HubApiError, match=text):
        await api.heartbeat(BEAT)
