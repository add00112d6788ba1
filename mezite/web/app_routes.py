# SPDX-License-Identifier: Apache-2.0
"""The applications that the user may use: what the launcher shows."""

from __future__ import annotations

from typing import Any

import attrs

from mezite.services.apps.launcher import AppLauncher, AppTile
from mezite.services.identity.identities import UserIdentity
from mezite.web.route_table import RouteTable, client_address

__all__ = ["AppRoutes"]


@attrs.frozen(kw_only=True)
class AppRoutes:
    """`apps`."""

    launcher: AppLauncher

    def add_to(self, table: RouteTable) -> None:
        """Declare the route."""
        table.private("GET", "/v1/webapi/apps", self._list, "self.apps.list", "app")

    async def _list(self, identity: UserIdentity) -> dict[str, Any]:
        tiles = await self.launcher.tiles(identity, client_address=client_address())
        return {"apps": [_document(tile) for tile in tiles]}


def _document(tile: AppTile) -> dict[str, Any]:
    """Return the JSON form. The address behind the agent is the administrators' business."""
    return {
        "name": tile.app.name,
        "protocol": tile.app.protocol.value,
        "url": tile.url or None,
        "public_addr": tile.app.public_addr or None,
        "labels": dict(sorted(tile.app.labels.items())),
        "status": tile.state.value,
        "health": None if tile.health is None else tile.health.value,
    }
