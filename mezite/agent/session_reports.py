# SPDX-License-Identifier: Apache-2.0
"""What the agent tells the hub about sessions: the start before any byte flows, the end, and refusals."""

from __future__ import annotations

import logging

import trio

from mezite.agent.hub_api import HubApi, HubApiError
from mezite.api.pb.mezite.v1 import enrollment_pb2
from mezite.ssh.policy import ChannelKind, RefusalInfo, SessionInfo, SessionOutcome

__all__ = ["SessionReports"]

_log = logging.getLogger("mezite.agent.sessions")

END_SECONDS = 10
"""How long reporting an end may take while the session's tasks are being cancelled. The hub ends what it does not
hear of by itself when the connection goes away."""

MAX_COMMAND = 4096
"""As the hub keeps it. What is left out is said, or a command could hide behind four thousand blanks (threat H2)."""

MAX_REASON = 256
"""As the hub keeps it."""

_SESSIONS = frozenset({ChannelKind.SHELL, ChannelKind.EXEC, ChannelKind.SUBSYSTEM})


class SessionReports:
    """The hooks of one SSH connection; see `mezite.ssh.policy.SessionHooks`."""

    def __init__(self, api: HubApi, connection_id: str) -> None:
        self._api = api
        self._connection_id = connection_id

    async def session_started(self, info: SessionInfo) -> None:
        """Report the start. :raises HubApiError: the hub did not take it: the session must not begin (threat H2)."""
        await self._api.report_session_start(
            enrollment_pb2.ReportSessionStartRequest(
                connection_id=self._connection_id,
                session_id=info.session_id,
                login=info.grant.login,
                kind=info.kind.value,
                command=_command_text(info.target),
                pty=info.pty,
                certificate_serial=info.grant.certificate_id,
            )
        )
        _log.info(
            "session started",
            extra={"session_id": info.session_id, "user_name": info.grant.user, "login": info.grant.login},
        )

    async def session_ended(self, info: SessionInfo, outcome: SessionOutcome) -> None:
        """Report the end, also while being cancelled. Of a forwarded connection only the start is reported."""
        if info.kind not in _SESSIONS:
            return
        request = enrollment_pb2.ReportSessionEndRequest(
            session_id=info.session_id,
            exit_signal=outcome.signal or "",
            bytes_in=outcome.bytes_in,
            bytes_out=outcome.bytes_out,
            reason=(outcome.error or "")[:MAX_REASON],
        )
        if outcome.exit_status is not None:
            request.exit_status = outcome.exit_status
        with trio.move_on_after(END_SECONDS, shield=True):
            try:
                await self._api.report_session_end(request)
            except HubApiError as error:
                _log.warning("the end of a session was not reported", extra={"reason": str(error)})
        _log.info("session ended", extra={"session_id": info.session_id, "exit_status": outcome.exit_status})

    async def refused(self, info: RefusalInfo) -> None:
        """Report a refusal; when the hub cannot be told, the log must do."""
        _log.warning(
            "refused", extra={"login": info.login, "user_name": info.user or "", "reason": info.message}
        )
        request = enrollment_pb2.ReportRefusalRequest(
            connection_id=self._connection_id, login=info.login, reason=info.message
        )
        try:
            await self._api.report_refusal(request)
        except HubApiError as error:
            _log.warning("a refusal was not reported", extra={"reason": str(error)})


def _command_text(command: str) -> str:
    """As text that can be sent: bytes that are no UTF-8 escaped, and cut with a remark where it is too long."""
    text = command.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    if len(text) <= MAX_COMMAND:
        return text
    remark = f" ... ({len(text)} characters in all)"
    return text[: MAX_COMMAND - len(remark)] + remark
