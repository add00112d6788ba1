# SPDX-License-Identifier: Apache-2.0
"""Asks whoever logs in for the second factor that the hub wants to see (threat E8).

The agent is the end of the SSH connection, so here the login is held and the person asked; what is shown is judged by
the hub alone, for this connection and this SSH session. A hub that cannot be asked is a no.
"""

from __future__ import annotations

import logging

from mezite.agent.hub_api import HubApi, HubApiError
from mezite.api.pb.mezite.v1 import session_proofs_pb2 as pb
from mezite.ssh.login_dialogue import LoginDialogue
from mezite.ssh.policy import Refusal, SshGrant

__all__ = ["LoginProof"]

_log = logging.getLogger("mezite.agent.sessions")

ATTEMPTS = 3
"""As `NumberOfPasswordPrompts` of ssh; the hub counts wrong codes besides."""

WAIT_MS = 20_000
"""How long one call waits for the browser: less than what ends an API connection without calls."""


PROMPT = "Code of your authenticator app, or Enter to wait for the browser: "


class LoginProof:
    """The dialogue of one SSH connection; see `mezite.ssh.login_dialogue.Prove`."""

    def __init__(self, api: HubApi, connection_id: str) -> None:
        self._api = api
        self._connection_id = connection_id

    async def prove(self, grant: SshGrant, dialogue: LoginDialogue) -> Refusal | None:
        """Ask until the hub is content; None when it is."""
        login = pb.BeginLoginProofRequest(
            connection_id=self._connection_id,
            login=grant.login,
            certificate_serial=grant.certificate_id,
            ssh_session_id=dialogue.session_id.hex(),
        )
        try:
            pending = await self._api.begin_login_proof(login)
            if not pending.needed:
                return None
            state = await self._ask(login, pending, dialogue)
        except HubApiError as error:
            _log.warning("no second factor", extra={"login": grant.login, "reason": str(error)})
            return Refusal(message=str(error))
        return None if state == "proven" else Refusal(message=_why(state))

    async def _ask(
        self, login: pb.BeginLoginProofRequest, pending: pb.PendingProof, dialogue: LoginDialogue
    ) -> str:
        if "totp" not in pending.factors:
            await dialogue.ask(_text(pending))
            return await self._wait(login, pending)
        text = _text(pending)
        for attempt in range(ATTEMPTS):
            code = await dialogue.ask(text, PROMPT)
            if not code.strip():
                return await self._wait(login, pending)
            request = pb.AnswerLoginProofRequest(login=login, id=pending.id, totp="".join(code.split()))
            try:
                return (await self._api.answer_login_proof(request)).state
            except HubApiError as error:
                if not error.is_wrong_answer or attempt == ATTEMPTS - 1:
                    raise
                text = str(error)
        raise AssertionError("the last attempt has returned or raised")

    async def _wait(self, login: pb.BeginLoginProofRequest, pending: pb.PendingProof) -> str:
        """Until the person has decided in the browser, or it is too late: the hub says when."""
        request = pb.AwaitLoginProofRequest(login=login, id=pending.id, wait_ms=WAIT_MS)
        while True:
            state = (await self._api.await_login_proof(request)).state
            if state != "pending":
                return state


def _text(pending: pb.PendingProof) -> str:
    return (
        f"This session needs a second factor ({pending.needs}). Open\r\n"
        f"  {pending.url}\r\n"
        f"in a browser and check that it shows the code {pending.code}.\r\n"
    )


def _why(state: str) -> str:
    if state == "refused":
        return "the session was refused in the browser"
    return "no second factor was shown in time: connect again"
