# SPDX-License-Identifier: Apache-2.0
"""What somebody at the hub's pages is asked about a program that waits for them, and what they answer."""

from __future__ import annotations

from typing import Any

import attrs

from mezite.services.errors import InvalidRequestError
from mezite.services.identity.identities import UserIdentity
from mezite.services.sso.program_logins import ProgramLogins, WhichProgram
from mezite.web.json_body import read_fields
from mezite.web.proof_field import shown_proof
from mezite.web.route_table import RouteTable, client_address

__all__ = ["ProgramRoutes"]

_WHICH = {"login": str, "code": str}


@attrs.frozen(kw_only=True)
class ProgramRoutes:
    """`programs/look` and `programs/decide`; the program itself uses `sso/client/begin` and `finish`."""

    programs: ProgramLogins

    def add_to(self, table: RouteTable) -> None:
        """Declare the routes."""
        base = "/v1/webapi/programs"
        table.private("POST", f"{base}/look", self._look, "self.programs.allow", "account")
        table.private("POST", f"{base}/decide", self._decide, "self.programs.allow", "account")

    async def _look(self, _identity: UserIdentity) -> dict[str, Any]:
        fields = await read_fields({}, optional=_WHICH)
        question = await self.programs.look_up(_which(fields), client_address=client_address())
        return {"client_ip": question.client_address, "code": question.user_code}

    async def _decide(self, identity: UserIdentity) -> dict[str, Any]:
        fields = await read_fields({"allow": bool}, optional={**_WHICH, "proof": dict})
        redirect = await self.programs.decide(
            identity,
            _which(fields),
            allowed=fields["allow"],
            proof=shown_proof(fields),
            client_address=client_address(),
        )
        return {"redirect": redirect}


def _which(fields: dict[str, Any]) -> WhichProgram:
    """:raises InvalidRequestError: it names no program, or two."""
    handle, code = fields.get("login", ""), fields.get("code", "")
    if bool(handle) == bool(code):
        raise InvalidRequestError("name the program by one of login and code")
    return WhichProgram(handle=handle, user_code=code)
