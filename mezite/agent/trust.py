# SPDX-License-Identifier: Apache-2.0
"""Whom an agent trusts, and how that follows the cluster's keys (threat F5).

What the hub says is checked and stored before it is used, and used before it is acknowledged: an agent never says that
it trusts a key which it could forget.
"""

from __future__ import annotations

import logging
from collections.abc import Collection

import attrs
import trio

from mezite.agent.identity_store import IdentityStore, StoredIdentity
from mezite.core.certificates.keys import spki_sha256
from mezite.core.certificates.refusal import CertificateRefused
from mezite.core.certificates.ssh import parse_authorized_key_line, parse_public_key_blob
from mezite.core.certificates.ssh_certificate import parse_ssh_certificate
from mezite.core.certificates.ssh_wire import MalformedWireError
from mezite.core.certificates.trust_bundle import BadTrustError, TrustBundle
from mezite.core.certificates.x509_issue import certificate_spki_sha256, load_certificates

__all__ = ["TrustNews", "adopt", "is_outdated", "key_ids_of"]

_log = logging.getLogger("mezite.agent")


class TrustNews:
    """A word that something is to be done, for the task that does it."""

    def __init__(self) -> None:
        self._heard = trio.Event()

    def hear(self) -> None:
        """Have it done soon."""
        self._heard.set()

    async def wait(self) -> None:
        """Until it was heard since the last wait."""
        await self._heard.wait()
        self._heard = trio.Event()


def key_ids_of(identity: StoredIdentity) -> list[str]:
    """Return what to acknowledge, sorted; nothing when the stored CAs cannot be read."""
    bundle = TrustBundle(host_tls_ca_pem=identity.host_tls_ca_pem, user_ssh_ca=identity.user_ssh_ca)
    try:
        return sorted(bundle.key_ids)
    except BadTrustError:
        return []


def is_outdated(identity: StoredIdentity, signing_key_ids: Collection[str]) -> bool:
    """Whether a certificate is by another key than those that sign now; False when that cannot be told.

    Its signer is on its way out: whoever renews now does not depend on how long it is trusted.
    """
    try:
        (leaf,) = load_certificates(identity.tls_certificate_pem.encode())
        cas = [ca for pem in identity.host_tls_ca_pem for ca in load_certificates(pem.encode())]
        signers = {certificate_spki_sha256(ca) for ca in cas if ca.subject == leaf.issuer}
        host = parse_ssh_certificate(parse_authorized_key_line(identity.ssh_host_certificate)[1])
        signers.add(spki_sha256(parse_public_key_blob(host.ca_key_blob)))
    except (ValueError, MalformedWireError, CertificateRefused):
        return False
    return bool(signing_key_ids) and not signers <= set(signing_key_ids)


def adopt(
    store: IdentityStore,
    identity: StoredIdentity,
    *,
    host_tls_ca_pem: Collection[str],
    user_ssh_ca: Collection[str],
    now: int,
) -> StoredIdentity:
    """Store what a hub says whom to trust, and return the identity with it; `now` in milliseconds.

    :raises BadTrustError: it is no set of CAs; what was trusted stays.
    :raises OSError: the disk refuses; the same.
    """
    bundle = TrustBundle.offered(host_tls_ca_pem, user_ssh_ca, now=now // 1000)
    adopted = attrs.evolve(identity, host_tls_ca_pem=bundle.host_tls_ca_pem, user_ssh_ca=bundle.user_ssh_ca)
    if adopted != identity:
        store.save_trust(adopted)
        _log.info(
            "the cluster's CAs have changed",
            extra={"hubs": len(bundle.host_tls_ca_pem), "users": len(bundle.user_ssh_ca)},
        )
    return adopted
