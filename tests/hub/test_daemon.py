# SPDX-License-Identifier: Apache-2.0
"""A hub's life, from binding to draining (threats B6, P3, P14)."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import cast

import attrs
import pytest
import trio
import trio.testing

from mezite.api.client import ClientOptions, open_api_client
from mezite.api.pb.mezite.v1 import enrollment_pb2
from mezite.config.kinds import ListenAddress
from mezite.config.schema import AuthConfig, HubConfig, ProxyConfig
from mezite.core.mux.connection import ChannelHeader
from mezite.hub.daemon import DRAIN_SECONDS, ListenError, _bound_address, run_hub, write_last_requests
from mezite.net.dialer import DialError, dial
from mezite.services.apps.request_log import AppRequestLog
from mezite.services.audit_log import AuditLog, AuditUnavailableError
from mezite.services.sources import system_sources
from tests.handlers.peers import API, FakeAgent, agent_session, goodbye, online_agent, user_session
from tests.hub.live_hub import ANYWHERE, LOCAL, fill, hub_config, live_hub
from tests.services.apps.test_request_log import PREFLIGHT


async def test_it_announces_where_it_listens(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "mezite.hub"):
        async with live_hub(tmp_path) as hub:
            assert set(hub.running.addresses) == {"web", "ssh", "tunnel", "auth", "diag"}
            for address in hub.running.addresses.values():
                assert not address.endswith(":0")
                await trio.aclose_forcefully(await dial(address, 1))
            advertised = hub.hub.services.addresses.advertised()
            assert advertised["web"] == hub.address("web")
    (record,) = [record for record in caplog.records if record.message == "hub ready"]
    assert record.tunnel == hub.address("tunnel")


async def test_what_is_not_enabled_is_not_bound(tmp_path: Path) -> None:
    async with live_hub(tmp_path / "a", proxy=ProxyConfig(enabled=False)) as hub:
        assert set(hub.running.addresses) == {"auth", "diag"}
    async with live_hub(tmp_path / "b", auth=AuthConfig(enabled=False)) as hub:
        assert "auth" not in hub.running.addresses


async def test_it_stops_when_it_is_told(tmp_path: Path) -> None:
    """No connections: at once, with the last event written and every port closed."""
    async with live_hub(tmp_path) as hub:
        begin = trio.current_time()
        hub.stop.set()
        await gone(hub.address("web"))
        assert trio.current_time() - begin < DRAIN_SECONDS / 2


async def gone(address: str) -> None:
    with trio.fail_after(5):
        while True:
            try:
                await trio.aclose_forcefully(await dial(address, 1))
            except DialError:
                return
            await trio.lowlevel.checkpoint()


async def test_draining_in_order(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Agents are sent elsewhere, nobody new is let in, and what has ended by then ends the hub."""
    with caplog.at_level(logging.INFO, "mezite.hub"):
        async with live_hub(tmp_path) as hub, online_agent(hub, await hub.enroll()) as agent:
            hub.stop.set()
            assert await goodbye(agent.session) == "DRAINING the hub is shutting down"
            await gone(hub.address("tunnel"))
    (record,) = [record for record in caplog.records if record.message == "draining"]
    assert (record.tunnels, record.seconds) == (1, DRAIN_SECONDS)


async def test_cancelling_is_stopping_at_once(tmp_path: Path) -> None:
    async with live_hub(tmp_path) as hub:
        _current, profile = await hub.user()
        enrolled = await hub.enroll()
        async with agent_session(hub, enrolled) as agent, user_session(hub, profile) as user:
            await user.wait_round_trip()
            await agent.wait_round_trip()
            hub.cancel()
            with trio.fail_after(5):
                await user.wait_closed()
                await agent.wait_closed()


async def test_sessions_that_are_cut_are_recorded_as_ended(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Threat H4: the audit log outlives the connections, also when everything is cancelled at once."""
    async with live_hub(tmp_path) as hub:
        _current, profile = await hub.user()
        async with online_agent(hub, await hub.enroll()) as agent, user_session(hub, profile) as user:
            await user.open_channel(ChannelHeader(kind="ssh", target="web-1"))
            await report_start(agent)
            hub.cancel()
            with trio.fail_after(5):
                await user.wait_closed()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    async with live_hub(tmp_path, fresh=True) as hub:
        (ended,) = [json.loads(line) for line in await hub.audited("session.end")]
    assert ended["reason"] == "the connection ended"


@pytest.mark.parametrize("way", ["stop", "cancel"])
async def test_requests_that_are_not_written_yet_are_written_at_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    """Threat H7: what a request has left behind outlives it."""
    async with live_hub(tmp_path) as hub:
        for _ in range(600):
            await hub.hub.services.app_requests.record(PREFLIGHT)
        assert hub.hub.services.app_requests.waiting == 600
        hub.stop.set() if way == "stop" else hub.cancel()
        with trio.fail_after(20):
            await hub.over.wait()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    async with live_hub(tmp_path, fresh=True) as hub:
        assert len(await hub.audited("app.request")) == 600
        if way == "stop":
            events = [json.loads(line) for line in await hub.audited("app.request")]
            stopped = json.loads((await hub.audited("hub.stopped"))[0])
            assert max(event["seq"] for event in events) < stopped["seq"]


async def test_a_database_that_takes_no_more_requests_does_not_keep_the_hub(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    class Refusing:
        async def emit_together(self, occurrences: object) -> None:
            raise AuditUnavailableError("no")

    audit = cast(AuditLog, Refusing())
    log = AppRequestLog(audit=audit, sources=system_sources())
    async with trio.open_nursery() as nursery:
        await nursery.start(log.run)
        await log.record(PREFLIGHT)
        await write_last_requests(log)
        nursery.cancel_scope.cancel()
    (record,) = [record for record in caplog.records if record.levelno == logging.CRITICAL]
    assert (record.message, record.requests) == ("requests to applications were not recorded", 1)


async def report_start(agent: FakeAgent) -> None:
    channel = await agent.session.open_channel(API)
    async with open_api_client(channel, ClientOptions(authority="hub")) as client:
        request = enrollment_pb2.ReportSessionStartRequest(
            connection_id=agent.headers[0].trace_id,
            session_id="s-1",
            login="ubuntu",
            kind="exec",
            command="id",
        )
        await client.unary(
            "/mezite.v1.EnrollmentService/ReportSessionStart",
            request,
            enrollment_pb2.ReportSessionStartResponse,
        )


async def test_a_busy_port_is_named_with_its_key(tmp_path: Path) -> None:
    await fill(tmp_path)
    (busy,) = await trio.open_tcp_listeners(0, host=LOCAL)
    async with busy:
        port = busy.socket.getsockname()[1]
        config: HubConfig = hub_config(tmp_path)
        taken = attrs.evolve(config, auth=AuthConfig(listen_addr=ListenAddress(LOCAL, port)))
        with pytest.RaisesGroup(ListenError, flatten_subgroups=True) as refused:
            await run_hub(taken, stop=trio.Event(), sources=system_sources())
    (error,) = leaves(refused.value)
    assert error.what == f"cannot listen for auth on {LOCAL}:{port}"
    assert error.why == "Address already in use"
    assert error.hint == "stop what uses the port, or choose another with auth.listen_addr"


def leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for member in error.exceptions for leaf in leaves(member)]
    return [error]


@attrs.define
class Bound:
    port: int

    @property
    def socket(self) -> Bound:
        return self

    def getsockname(self) -> tuple[str, int]:
        return ("", self.port)


@pytest.mark.parametrize(
    ("host", "expected"), [(LOCAL, "127.0.0.1:7"), ("::", "[::]:7"), ("", ":7"), ("0.0.0.0", "0.0.0.0:7")]
)
def test_addresses_as_they_are_announced(host: str, expected: str) -> None:
    assert _bound_address(ListenAddress(host, 0), Bound(7)) == expected


async def test_two_hubs_one_after_the_other(tmp_path: Path) -> None:
    async with live_hub(tmp_path) as hub:
        pin, hub_id = hub.pin, hub.hub.ground.hub_id
        hub.stop.set()
        with trio.fail_after(5):
            await hub.over.wait()
    async with live_hub(tmp_path, fresh=True) as hub:
        assert (hub.pin, hub.hub.ground.hub_id) == (pin, hub_id)
        assert hub.config.auth.listen_addr == ANYWHERE
        assert len(await hub.audited("hub.started")) == 2
        assert len(await hub.audited("hub.stopped")) == 1
