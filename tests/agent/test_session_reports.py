# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import logging

import attrs
import pytest
import trio
from trio.testing import MockClock

from mezite.agent.hub_api import HubApi, HubApiError
from mezite.agent.session_reports import END_SECONDS, MAX_COMMAND, SessionReports
from mezite.api.client import RpcError, StatusCode
from mezite.ssh.policy import ChannelKind, PeerAddress, RefusalInfo, SessionInfo, SessionOutcome, SshGrant
from tests.agent.fake_api import FakeClient, refusing

CLIENT = PeerAddress(client_ip="192.0.2.7", client_port=50000)
INFO = SessionInfo(
    session_id="s-1",
    grant=SshGrant(user="alice", login="ubuntu"),
    kind=ChannelKind.EXEC,
    target="x" * 5000,
    pty=True,
    client=CLIENT,
)
DOWN = refusing(RpcError(StatusCode.UNAVAILABLE, "the hub is away"))


def reports(client: FakeClient) -> SessionReports:
    api = HubApi()
    api.attach(client)
    return SessionReports(api, "c-1")


async def test_a_start_is_reported_before_anything_flows() -> None:
    client = FakeClient()
    await reports(client).session_started(INFO)
    ((name, request),) = client.calls
    assert name == "ReportSessionStart"
    assert (request.connection_id, request.session_id, request.login) == ("c-1", "s-1", "ubuntu")
    assert (request.kind, request.pty, len(request.command)) == ("exec", True, MAX_COMMAND)


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("id -un", "id -un"),
        (b"cat z\xe9".decode("utf-8", "surrogateescape"), "cat z\\xe9"),
        ("echo z\u00e9", "echo z\u00e9"),
        ("a" * MAX_COMMAND, "a" * MAX_COMMAND),
        (" " * 9000 + "evil", " " * (MAX_COMMAND - 29) + " ... (9004 characters in all)"),
    ],
)
async def test_commands_as_they_are_recorded(command: str, text: str) -> None:
    """Threat H2: any bytes make a command; nothing hides behind what is cut off."""
    client = FakeClient()
    await reports(client).session_started(attrs.evolve(INFO, target=command))
    ((_, request),) = client.calls
    assert request.command == text


async def test_no_session_that_the_hub_does_not_know_of() -> None:
    """Threat H2: it fails, and the SSH server then starts nothing."""
    with pytest.raises(HubApiError, match="the hub is away"):
        await reports(FakeClient(DOWN)).session_started(INFO)


@pytest.mark.parametrize("status", [None, 0, 7])
async def test_an_end_is_reported(status: int | None) -> None:
    client = FakeClient()
    outcome = SessionOutcome(exit_status=status, signal="TERM", bytes_in=5, bytes_out=9)
    await reports(client).session_ended(INFO, outcome)
    ((name, request),) = client.calls
    assert name == "ReportSessionEnd"
    assert (request.session_id, request.exit_signal) == ("s-1", "TERM")
    assert (request.bytes_in, request.bytes_out) == (5, 9)
    assert request.HasField("exit_status") is (status is not None)
    assert request.exit_status == (status or 0)


async def test_of_a_forwarded_connection_only_the_start_is_reported() -> None:
    client = FakeClient()
    await reports(client).session_ended(
        attrs.evolve(INFO, kind=ChannelKind.DIRECT_TCPIP), SessionOutcome(exit_status=None)
    )
    assert client.calls == []


async def test_an_end_that_cannot_be_reported_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        await reports(FakeClient(DOWN)).session_ended(INFO, SessionOutcome(exit_status=0))
    assert "the end of a session was not reported" in caplog.text


async def test_an_end_is_reported_while_everything_is_cancelled() -> None:
    """Threat P6: the clean-up is shielded."""
    client = FakeClient()
    with trio.CancelScope() as scope:
        scope.cancel()
        await reports(client).session_ended(INFO, SessionOutcome(exit_status=0))
    assert client.names == ["ReportSessionEnd"]


async def test_reporting_an_end_has_a_deadline_of_its_own(autojump_clock: MockClock) -> None:
    begin = trio.current_time()
    with trio.CancelScope() as scope:
        scope.cancel()
        await SessionReports(HubApi(), "c-1").session_ended(INFO, SessionOutcome(exit_status=0))
    assert trio.current_time() - begin == END_SECONDS


REFUSED = RefusalInfo(
    login="root", user=None, kind=None, target="", message="login root is not allowed", client=CLIENT
)


async def test_a_refusal_is_reported_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    client = FakeClient()
    await reports(client).refused(REFUSED)
    ((name, request),) = client.calls
    assert name == "ReportRefusal"
    assert (request.connection_id, request.login, request.reason) == (
        "c-1",
        "root",
        "login root is not allowed",
    )
    assert caplog.records[0].reason == "login root is not allowed"


async def test_a_refusal_that_cannot_be_reported_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    await reports(FakeClient(DOWN)).refused(REFUSED)
    assert [record.message for record in caplog.records] == ["refused", "a refusal was not reported"]
