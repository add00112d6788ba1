# SPDX-License-Identifier: Apache-2.0
"""Showing a second factor for a session in the browser: what the page `/approve` calls."""

from __future__ import annotations

from typing import Any

import attrs
import quart

from mezite.net.addresses import host_of
from mezite.services.identity.identities import UserIdentity
from mezite.services.proofs.pending_proof import ProofView
from mezite.services.proofs.session_proof import SessionProofs
from mezite.web.json_body import read_fields
from mezite.web.route_table import RouteTable, client_address

__all__ = ["ProofRoutes"]

_BASE = "/v1/webapi/proofs/<id>"
_VERB = "self.sessions.prove"


@attrs.frozen(kw_only=True)
class ProofRoutes:
    """Everything under `proofs/`."""

    proofs: SessionProofs

    def add_to(self, table: RouteTable) -> None:
        """Declare the routes."""
        table.private("GET", _BASE, self._view, _VERB, "account")
        table.private("POST", f"{_BASE}/webauthn/begin", self._begin_key, _VERB, "account")
        table.private("POST", f"{_BASE}/webauthn/finish", self._finish_key, _VERB, "account")
        table.private("POST", f"{_BASE}/totp", self._code, _VERB, "account")
        table.private("POST", f"{_BASE}/refuse", self._refuse, _VERB, "account")

    async def _view(self, identity: UserIdentity) -> dict[str, Any]:
        return _shown(await self.proofs.view(identity, _id()))

    async def _begin_key(self, identity: UserIdentity) -> dict[str, Any]:
        await read_fields({})
        asked = await self.proofs.begin_key(identity, _id())
        return {"challenge_id": asked.id.reveal(), "options": asked.options}

    async def _finish_key(self, identity: UserIdentity) -> dict[str, Any]:
        fields = await read_fields({"challenge_id": str, "credential": dict})
        await self.proofs.show_key(
            identity, _id(), fields["challenge_id"], fields["credential"], client_address=client_address()
        )
        return {"state": "proven"}

    async def _code(self, identity: UserIdentity) -> dict[str, Any]:
        fields = await read_fields({"code": str})
        code = "".join(fields["code"].split())
        await self.proofs.show_code(identity.name, _id(), code, client_address=client_address())
        return {"state": "proven"}

    async def _refuse(self, identity: UserIdentity) -> dict[str, Any]:
        await read_fields({})
        await self.proofs.refuse(identity, _id(), client_address=client_address())
        return {"state": "refused"}


def _id() -> str:
    return str((quart.request.view_args or {})["id"])


def _shown(view: ProofView) -> dict[str, Any]:
    row = view.row
    return {
        "user": row.user_name,
        "kind": row.kind.value,
        "targets": row.targets,
        "needs": row.needs,
        "window_seconds": row.window_ms // 1000,
        "asked_from": host_of(row.client_ip),
        "created_at_ms": row.created_at,
        "expires_at_ms": row.expires_at,
        "state": view.state,
        "code": view.code,
        "factors": view.factors,
    }
