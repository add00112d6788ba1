# SPDX-License-Identifier: Apache-2.0
"""What clients are told to trust, signed by the CAs that they may know already."""

from __future__ import annotations

from typing import Final

from mezite.core.certificates.continuation import ClusterTrust, SignedTrust, sign_trust, trust_document
from mezite.core.certificates.ssh import authorized_key_line, public_key_blob
from mezite.core.certificates.x509_issue import certificate_pem
from mezite.services.authorities.key_ring import KeyRing
from mezite.services.authorities.keys import Authority, Purpose
from mezite.services.sources import Sources
from mezite.storage.trust import ContinuationRow

__all__ = ["ClusterTrustLists", "last_words"]

LIST_S: Final = 3600
"""How long a list of now is good: nobody keeps one, and clocks are off by minutes (threat F6)."""

SIGN_AGAIN_S: Final = 1800


class ClusterTrustLists:
    """The lists that lead from any CA of this cluster, past or present, to the ones that are trusted now."""

    def __init__(self, cluster: str, sources: Sources) -> None:
        self._cluster = cluster
        self._sources = sources
        self._ring: KeyRing | None = None
        self._signed_at = 0
        self._present = SignedTrust(document="", signatures={})

    def offered(self, ring: KeyRing) -> list[SignedTrust]:
        """Return the list of now, and what keys that are gone have signed at last."""
        now = self._sources.now() // 1000
        if ring is not self._ring or not 0 <= now - self._signed_at < SIGN_AGAIN_S:
            document = trust_document(_trust(self._cluster, ring), expires_at=now + LIST_S)
            signers = ring.trusted(Purpose.HOST_TLS)
            signatures = {signer.key_id: sign_trust(document, signer.key) for signer in signers}
            self._present = SignedTrust(document=document, signatures=signatures)
            self._ring, self._signed_at = ring, now
        kept = (
            SignedTrust(document=row.document, signatures={row.signer_key_id: row.signature})
            for row in ring.continuations
        )
        return [self._present, *kept]


def last_words(cluster: str, ring: KeyRing, going: tuple[str, ...], now: int) -> list[ContinuationRow]:
    """Return what the host-TLS keys `going` leave behind: the list of those that stay, without an end."""
    document = trust_document(_trust(cluster, ring, without=going), expires_at=None)
    return [
        ContinuationRow(
            signer_key_id=key_id,
            document=document,
            signature=sign_trust(document, ring.find(Purpose.HOST_TLS, key_id).key),
            created_at=now,
        )
        for key_id in going
    ]


def _trust(cluster: str, ring: KeyRing, without: tuple[str, ...] = ()) -> ClusterTrust:
    stay = [one for one in ring.trusted(Purpose.HOST_TLS) if one.key_id not in without]
    return ClusterTrust(
        cluster=cluster,
        host_tls_ca_pem=tuple(certificate_pem(one.certificate).decode() for one in stay),
        host_ssh_ca=tuple(_line(one, cluster) for one in ring.trusted(Purpose.HOST_SSH)),
    )


def _line(authority: Authority, cluster: str) -> str:
    return authorized_key_line(
        public_key_blob(authority.key.public_key()), f"{Purpose.HOST_SSH.value}@{cluster}"
    )
