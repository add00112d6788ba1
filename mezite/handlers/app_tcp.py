# SPDX-License-Identifier: Apache-2.0
"""`msh app login`: each TCP connection to an application is one channel of kind `app` in the user's tunnel."""

from __future__ import annotations

import logging

import attrs
import trio

from mezite.net.byte_streams import RelayIdleError, relay
from mezite.net.mux_session import PendingChannel
from mezite.services.access.verb_registry import Door, DoorKind, VerbRegistry
from mezite.services.apps.access import AppAccess, AppSession
from mezite.services.identity.identities import UserIdentity

__all__ = ["CHECK", "AppTcpHandler", "register_app_channel"]

_log = logging.getLogger("mezite.connect")

CHECK = "check"
"""The attribute of a channel that asks whether connections would be let through; it is accepted and closed."""


def register_app_channel(registry: VerbRegistry) -> None:
    """Declare the kind of channel, with its verb."""
    registry.register(Door(kind=DoorKind.CHANNEL, name="app", verb="apps.connect", resource="app"))


@attrs.frozen(kw_only=True)
class AppTcpHandler:
    """Serves the channels to TCP applications of all users."""

    access: AppAccess

    async def serve(self, pending: PendingChannel, identity: UserIdentity, client_address: str) -> None:
        """Connect, accept and relay until both directions have ended.

        :raises RefusedError: the channel was not accepted; the text is for the user.
        """
        name = pending.header.target
        if CHECK in pending.header.attributes:
            await self.access.check(identity, name, client_address=client_address)
            await trio.aclose_forcefully(await pending.accept())
            return
        async with self.access.connect(identity, name, client_address=client_address) as session:
            await _relay(pending, session)


async def _relay(pending: PendingChannel, session: AppSession) -> None:
    try:
        await relay(await pending.accept(), session.stream, idle_timeout=session.idle_timeout or None)
    except RelayIdleError as idle:
        session.reason = str(idle)
    except (trio.BrokenResourceError, trio.ClosedResourceError) as broken:
        # Either end went away in the middle: the other one has been told by a reset.
        session.reason = "the connection was broken off"
        _log.debug("relay ended early", extra={"reason": repr(broken)})
