# SPDX-License-Identifier: Apache-2.0
"""What the cluster's certificate authorities issue, and whose certificates they vouch for.

A key for each purpose, so that a certificate of one is nothing to who trusts another (threat A4): users' SSH, hosts'
SSH, hubs' and agents' TLS (whose key is what pins name), users' TLS. The active key of a purpose signs; what any of
its keys has signed is accepted, so that a rotation locks nobody out (threat F5).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from mezite.core.certificates.continuation import SignedTrust
from mezite.core.certificates.identity import PeerKind
from mezite.core.certificates.keys import (
    InvalidKeyError,
    PrivateKey,
    PublicKey,
    load_public_key,
)
from mezite.core.certificates.refusal import CertificateRefused, Reason
from mezite.core.certificates.ssh import (
    HostCertificateSpec,
    UserCertificateSpec,
    authorized_key_line,
    issue_host_certificate,
    issue_user_certificate,
    parse_authorized_key_line,
    parse_public_key_blob,
    public_key_blob,
)
from mezite.core.certificates.ssh_wire import MalformedWireError
from mezite.core.certificates.validity import Validity
from mezite.core.certificates.verified import VerifiedPeer
from mezite.core.certificates.x509_issue import (
    AgentCertificateSpec,
    HubCertificateSpec,
    UserX509Spec,
    certificate_pem,
    issue_agent_certificate,
    issue_hub_certificate,
    issue_user_certificate_x509,
)
from mezite.core.certificates.x509_verify import verify_x509
from mezite.core.secret import Secret
from mezite.services.authorities.cluster_trust import ClusterTrustLists
from mezite.services.authorities.key_ring import KeyRing, KeyStore
from mezite.services.authorities.keys import AGENT_LIFETIME_S, HUB_LIFETIME_S, CaPassphraseError, Purpose
from mezite.services.sources import Sources
from mezite.storage.database import Database

__all__ = [
    "AgentCertificates",
    "CaPassphraseError",
    "CertificateAuthorities",
    "HubCertificates",
    "Purpose",
    "UserCertificateRequest",
    "UserCertificates",
]

BACKDATE_S: Final = 300


@attrs.frozen(kw_only=True)
class AgentCertificates:
    """What an agent gets."""

    tls_certificate_pem: str
    ssh_host_certificate: str
    generation: int
    expires_at: int
    """Milliseconds since 1970."""


@attrs.frozen(kw_only=True)
class HubCertificates:
    """What a hub serves with: it makes its own keys."""

    tls_certificate_pem: bytes
    """The leaf and its CA, so that clients can hold the CA against a pin."""
    ssh_host_certificate: str
    expires_at: int


@attrs.frozen(kw_only=True)
class UserCertificateRequest:
    """What to certify for a user; the decisions behind it are taken."""

    user_name: str
    roles: tuple[str, ...]
    traits: Mapping[str, tuple[str, ...]]
    principals: tuple[str, ...]
    extensions: tuple[str, ...]
    ssh_public_key: str
    tls_public_key_pem: bytes
    ttl_seconds: int
    request_ids: tuple[str, ...] = ()
    """Approved access requests that it is for."""
    device_id: str = ""
    """The enrolled device that it is for; empty for none."""
    source_address: str = ""
    """The address blocks that it is good for; empty for all."""


@attrs.frozen(kw_only=True)
class UserCertificates:
    """What a user gets."""

    ssh_certificate: str
    tls_certificate_pem: str
    serial: int
    expires_at: int


class CertificateAuthorities:
    """All CAs of the cluster, opened."""

    def __init__(self, *, store: KeyStore, ring: KeyRing) -> None:
        self.cluster = store.cluster
        self.store = store
        self.ring = ring
        """Replaced as a whole when keys change, here or on another hub."""
        self._sources = store.sources
        self._lists = ClusterTrustLists(store.cluster, store.sources)

    @classmethod
    async def open(
        cls, database: Database, *, cluster: str, passphrase: Secret | None, sources: Sources
    ) -> CertificateAuthorities:
        """Read the keys, making those that are missing; hubs that start at once agree on one key each.

        :raises CaPassphraseError: the passphrase does not open the stored keys.
        """
        store = KeyStore(database=database, cluster=cluster, passphrase=passphrase, sources=sources)
        return cls(store=store, ring=await store.load())

    async def reload(self) -> bool:
        """Read the keys again; whether any has changed.

        :raises CaPassphraseError: a new key was stored under another passphrase; those that are known stay.
        """
        before = self.ring
        self.ring = await self.store.load(before)
        return self.ring is not before

    @property
    def host_pin(self) -> str:
        """The pin of the Host CA that signs now: 64 hex digits."""
        return self.ring.active(Purpose.HOST_TLS).key_id

    def signed_trust(self) -> list[SignedTrust]:
        """Return what leads from any Host CA of this cluster, past or present, to those that are trusted now."""
        return self._lists.offered(self.ring)

    @property
    def host_pins(self) -> list[str]:
        """The pins of all Host CAs that are trusted."""
        return [one.key_id for one in self.ring.trusted(Purpose.HOST_TLS)]

    @property
    def key_ids_for_agents(self) -> frozenset[str]:
        """The ids of the keys that agents have to trust."""
        purposes = (Purpose.HOST_TLS, Purpose.USER_SSH)
        return frozenset(one.key_id for purpose in purposes for one in self.ring.trusted(purpose))

    @property
    def signing_key_ids(self) -> list[str]:
        """The ids of the keys that certify agents now."""
        return [self.ring.active(purpose).key_id for purpose in (Purpose.HOST_TLS, Purpose.HOST_SSH)]

    @property
    def host_tls_ca_pem(self) -> list[str]:
        """The certificates of the CAs of hubs and agents; the one that signs comes first, as everywhere here."""
        return self._pems(Purpose.HOST_TLS)

    @property
    def user_tls_ca_pem(self) -> list[str]:
        """The certificates of the CAs of users."""
        return self._pems(Purpose.USER_TLS)

    @property
    def user_ssh_ca_lines(self) -> list[str]:
        """The public keys of the CAs of users, as OpenSSH writes them."""
        return self._ssh_lines(Purpose.USER_SSH)

    @property
    def host_ssh_ca_lines(self) -> list[str]:
        """The public keys of the CAs of nodes, as OpenSSH writes them."""
        return self._ssh_lines(Purpose.HOST_SSH)

    @property
    def user_ssh_ca_blobs(self) -> list[bytes]:
        """The same as the wire form that the verifier compares with."""
        return [public_key_blob(key) for key in self.ring.public_keys(Purpose.USER_SSH)]

    def verify_client(self, der: bytes, *, now: int) -> VerifiedPeer:
        """Verify the certificate of a TLS client of whatever kind; `now` in milliseconds.

        :raises CertificateRefused: it is good for none of the kinds.
        """
        refusals: list[CertificateRefused] = []
        for kind in PeerKind:
            purpose = Purpose.USER_TLS if kind is PeerKind.USER else Purpose.HOST_TLS
            try:
                return verify_x509(
                    der,
                    ca_certs=[authority.certificate for authority in self.ring.trusted(purpose)],
                    cluster=self.cluster,
                    kind=kind,
                    now=now // 1000,
                )
            except CertificateRefused as refused:
                refusals.append(refused)
        # A refusal other than "not this kind" or "not this CA" is about the kind that it is.
        beside = {Reason.WRONG_TYPE, Reason.UNTRUSTED_SIGNER}
        raise next((refusal for refusal in refusals if refusal.reason not in beside), refusals[-1])

    def issue_agent(
        self,
        *,
        tls_public_key_pem: bytes,
        ssh_public_key: str,
        agent_id: str,
        node_name: str,
        generation: int,
    ) -> AgentCertificates:
        """Certify an agent's keys for 24 hours. :raises InvalidKeyError: a key is damaged or not supported."""
        now = self._sources.now() // 1000
        tls_key = load_public_key(tls_public_key_pem)
        ssh_key = _parse_ssh_key(ssh_public_key)
        certificate = issue_agent_certificate(
            self.ring.active(Purpose.HOST_TLS).certificate,
            self.ring.active(Purpose.HOST_TLS).key,
            tls_key,
            AgentCertificateSpec(
                cluster=self.cluster,
                agent_id=agent_id,
                node_name=node_name,
                generation=generation,
                serial=self._sources.new_serial(),
                validity=Validity.starting(now, AGENT_LIFETIME_S),
            ),
        )
        host = issue_host_certificate(
            self.ring.active(Purpose.HOST_SSH).key,
            ssh_key,
            HostCertificateSpec(
                serial=self._sources.new_serial(),
                key_id=agent_id,
                principals=(node_name, f"{node_name}.{self.cluster}"),
                valid_after=now - BACKDATE_S,
                valid_before=now + AGENT_LIFETIME_S,
                nonce=self._sources.token_bytes(32),
            ),
        )
        return AgentCertificates(
            tls_certificate_pem=certificate_pem(certificate).decode(),
            ssh_host_certificate=authorized_key_line(host),
            generation=generation,
            expires_at=(now + AGENT_LIFETIME_S) * 1000,
        )

    def issue_hub(
        self,
        *,
        hub_id: str,
        tls_key: PrivateKey,
        ssh_key: PrivateKey,
        names: tuple[str, ...],
        addresses: tuple[str, ...],
    ) -> HubCertificates:
        """Certify this hub's own keys for 24 hours, under the names and IP addresses that clients dial."""
        now = self._sources.now() // 1000
        ca = self.ring.active(Purpose.HOST_TLS).certificate
        certificate = issue_hub_certificate(
            ca,
            self.ring.active(Purpose.HOST_TLS).key,
            tls_key.public_key(),
            HubCertificateSpec(
                cluster=self.cluster,
                hub_id=hub_id,
                host_names=names,
                addresses=addresses,
                serial=self._sources.new_serial(),
                validity=Validity.starting(now, HUB_LIFETIME_S),
            ),
        )
        host = issue_host_certificate(
            self.ring.active(Purpose.HOST_SSH).key,
            ssh_key.public_key(),
            HostCertificateSpec(
                serial=self._sources.new_serial(),
                key_id=hub_id,
                # OpenSSH reads "*" as a pattern, and nobody jumps through an IPv6 address without a name for it.
                principals=tuple(
                    name for name in (*names, *addresses) if "*" not in name and ":" not in name
                ),
                valid_after=now - BACKDATE_S,
                valid_before=now + HUB_LIFETIME_S,
                nonce=self._sources.token_bytes(32),
            ),
        )
        return HubCertificates(
            tls_certificate_pem=certificate_pem(certificate) + certificate_pem(ca),
            ssh_host_certificate=authorized_key_line(host),
            expires_at=(now + HUB_LIFETIME_S) * 1000,
        )

    def issue_user(self, request: UserCertificateRequest) -> UserCertificates:
        """Certify a user's keys. :raises InvalidKeyError: a key is damaged or not supported."""
        now = self._sources.now() // 1000
        serial = self._sources.new_serial()
        certificate = issue_user_certificate_x509(
            self.ring.active(Purpose.USER_TLS).certificate,
            self.ring.active(Purpose.USER_TLS).key,
            load_public_key(request.tls_public_key_pem),
            UserX509Spec(
                cluster=self.cluster,
                user_name=request.user_name,
                roles=request.roles,
                traits=request.traits,
                request_ids=request.request_ids,
                device_id=request.device_id,
                source_address=request.source_address,
                serial=serial,
                validity=Validity.starting(now, request.ttl_seconds),
            ),
        )
        return UserCertificates(
            ssh_certificate=self.issue_ssh_user(request, serial=serial, now=now),
            tls_certificate_pem=certificate_pem(certificate).decode(),
            serial=serial,
            expires_at=(now + request.ttl_seconds) * 1000,
        )

    def issue_ssh_user(self, request: UserCertificateRequest, *, serial: int, now: int) -> str:
        """Certify a user's SSH key alone; one OpenSSH certificate line. `now` is in seconds.

        :raises InvalidKeyError: the key is damaged or not supported.
        """
        blob = issue_user_certificate(
            self.ring.active(Purpose.USER_SSH).key,
            _parse_ssh_key(request.ssh_public_key),
            UserCertificateSpec(
                serial=serial,
                key_id=request.user_name,
                principals=request.principals,
                valid_after=now - BACKDATE_S,
                valid_before=now + request.ttl_seconds,
                nonce=self._sources.token_bytes(32),
                extensions=request.extensions,
                critical_options=(
                    {"source-address": request.source_address} if request.source_address else {}
                ),
                roles=request.roles,
                traits=request.traits,
                request_ids=request.request_ids,
                device_id=request.device_id,
            ),
        )
        return authorized_key_line(blob, f"{request.user_name}@{self.cluster}")

    def _pems(self, purpose: Purpose) -> list[str]:
        return [certificate_pem(one.certificate).decode() for one in self.ring.trusted(purpose)]

    def _ssh_lines(self, purpose: Purpose) -> list[str]:
        comment = f"{purpose.value}@{self.cluster}"
        blobs = (public_key_blob(key) for key in self.ring.public_keys(purpose))
        return [authorized_key_line(blob, comment) for blob in blobs]


def _parse_ssh_key(line: str) -> PublicKey:
    try:
        return parse_public_key_blob(parse_authorized_key_line(line)[1])
    except MalformedWireError as error:
        raise InvalidKeyError(f"the SSH public key is damaged: {error}") from None
