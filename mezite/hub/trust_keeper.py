# SPDX-License-Identifier: Apache-2.0
"""How a hub keeps up with the cluster's signing keys, and takes the steps of rotations that are due."""

from __future__ import annotations

import logging
from typing import NoReturn

import trio

from mezite.hub.hub_identity import HubTls
from mezite.services.audit_log import AuditUnavailableError
from mezite.services.authorities.certificate_authority import CertificateAuthorities
from mezite.services.authorities.keys import CaPassphraseError
from mezite.services.authorities.rotation import AuthorityRotation
from mezite.services.nodes.trust_news import tell_agents
from mezite.services.nodes.tunnel_registry import TunnelRegistry
from mezite.storage.errors import StorageError

__all__ = ["keep_trust"]

_log = logging.getLogger("mezite.hub")

LOOK_SECONDS = 5
"""How long a step that another hub has taken may go unnoticed here; a former key signs on for as long."""


async def keep_trust(
    *,
    authorities: CertificateAuthorities,
    rotation: AuthorityRotation,
    tls: HubTls,
    registry: TunnelRegistry,
) -> NoReturn:
    """Follow the keys for ever: first the listeners trust them, then the hub says so, then steps are taken.

    Nothing that fails here ends the hub; it is tried again at the next look.
    """
    shown = authorities.ring
    async with trio.open_nursery() as nursery:
        while True:
            try:
                await authorities.reload()
                if authorities.ring is not shown:
                    tls.follow_keys()
                    shown = authorities.ring
                    nursery.start_soon(tell_agents, registry)
                await rotation.note_hub()
                await rotation.advance()
            except (StorageError, AuditUnavailableError, CaPassphraseError, OSError) as error:
                _log.error("cannot keep up with the signing keys", extra={"reason": str(error)})
                await trio.sleep(LOOK_SECONDS)
                continue
            if authorities.ring is shown:
                with trio.move_on_after(LOOK_SECONDS):
                    await rotation.wait_woken()
    raise AssertionError("the loop has no end")
