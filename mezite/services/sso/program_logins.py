# SPDX-License-Identifier: Apache-2.0
"""A program lets a browser log in for it: for who has a security key, which programs cannot ask.

It begins and ends as a login through a connector does (`sso_clients`); in between somebody who is logged in at the
hub's own pages shows a factor once more and says whether the program may act for them.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import attrs

from mezite.core.audit.event_types import EventType
from mezite.core.secret import token_hash
from mezite.services.errors import ConflictError, NotFoundError
from mezite.services.factors.fresh_proof import FreshProof, Proof
from mezite.services.identity.identities import UserIdentity
from mezite.services.sso.clients import ClientQuestion, SsoClients, question_about
from mezite.services.sso.connectors import LOCAL
from mezite.storage import sso_logins
from mezite.storage.sso_logins import ClientLoginRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["ProgramLogins", "WhichProgram"]


@attrs.frozen(kw_only=True)
class WhichProgram:
    """By the address that it has opened, or by the code that it shows."""

    handle: str = ""
    user_code: str = ""


@attrs.frozen(kw_only=True)
class ProgramLogins:
    """The part of a person."""

    clients: SsoClients
    proof: FreshProof

    async def look_up(self, which: WhichProgram, *, client_address: str) -> ClientQuestion:
        """Return what the person is asked. :raises NotFoundError: no program waits so."""
        return question_about(await self._row(which, client_address))

    async def decide(
        self,
        identity: UserIdentity,
        which: WhichProgram,
        *,
        allowed: bool,
        proof: Proof,
        client_address: str,
    ) -> str:
        """Let the program in or not; return where the browser goes with the code, empty where there is no such place.

        Whoever allows has shown a factor, or the password, within five minutes: that is the login of the program.

        :raises NotFoundError: no program waits so. :raises ConflictError: somebody was faster.
        :raises ProofRequiredError: and UnauthenticatedError as `FreshProof.require`.
        """
        row = await self._row(which, client_address)
        if allowed:
            await self.proof.require(identity, proof, client_address=client_address)
        login = self.clients.login
        code = login.sources.new_secret()
        decide = partial(
            _decide, row=row, user_name=identity.name, code_hash=token_hash(code), allowed=allowed
        )
        if not await login.database.write(decide, now=login.sources.now()):
            raise ConflictError("this was answered already: look at the program")
        if not allowed:
            await login.refusals.emit(
                EventType.USER_LOGIN_FAILED,
                client_ip=row.client_ip,
                user_name=identity.name,
                error_message=f"refused by the person at {client_address}",
                method="browser",
            )
        return f"{row.callback_url}?code={code}" if allowed and row.callback_url else ""

    async def _row(self, which: WhichProgram, client_address: str) -> ClientLoginRow:
        if which.user_code:
            row = await self.clients.by_code(which.user_code, client_address=client_address)
        else:
            row = await self.clients.by_handle(which.handle)
        if row.connector != LOCAL or row.user_name is not None:
            raise NotFoundError("no program waits for you there: begin again, in the program")
        return row


def _decide(
    conn: Connection, *, row: ClientLoginRow, user_name: str, code_hash: str, allowed: bool, now: int
) -> bool:
    """Of several who answer at once one does (threat E10)."""
    answered = sso_logins.propose_user(
        conn,
        token_hash=row.token_hash,
        user_name=user_name,
        code_hash=code_hash,
        approved=allowed,
        now=now,
    )
    if answered and not allowed:
        sso_logins.refuse_client(conn, code_hash=code_hash, now=now)
    return answered
