# SPDX-License-Identifier: Apache-2.0
"""Applications as their users see them: what to open, and whether it can be reached."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from mezite.core.apps.app import App
from mezite.core.apps.health import AppHealth
from mezite.net.addresses import split_host_port
from mezite.services.apps.catalog import AppCatalog
from mezite.services.apps.status import AppState, AppStatus
from mezite.services.identity.identities import UserIdentity

__all__ = ["AppLauncher", "AppTile", "app_url"]

HTTPS = 443


@attrs.frozen(kw_only=True)
class AppTile:
    """One application that a user may use."""

    app: App
    url: str
    """For browsers; empty for TCP."""
    state: AppState
    health: AppHealth | None
    """None where it is not checked."""


def app_url(app: App, web_url: str) -> str:
    """Return where browsers find an application: its own name, at the port of the hub's web pages; empty for TCP."""
    if not app.public_addr:
        return ""
    _, port = split_host_port(web_url.removeprefix("https://"), HTTPS)
    return f"https://{app.public_addr}" if port == HTTPS else f"https://{app.public_addr}:{port}"


@attrs.frozen(kw_only=True)
class AppLauncher:
    """Lists applications for one user."""

    catalog: AppCatalog
    status: AppStatus
    web_url: Callable[[], str]
    """Where browsers reach this hub: `https://host[:port]`."""

    async def tiles(self, identity: UserIdentity, *, client_address: str) -> list[AppTile]:
        """Return what this user may use, disabled ones too, by name."""
        apps = await self.catalog.visible_to(identity, client_address=client_address)
        url = self.web_url()
        return [
            AppTile(app=view.app, url=app_url(view.app, url), state=view.state, health=view.overall_health)
            for view in await self.status.views(apps)
        ]
