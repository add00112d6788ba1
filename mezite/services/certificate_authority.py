# SPDX-License-Identifier: Apache-2.0
"""The cluster's certificate authorities: made once, kept in the database, used by every hub.

Four keys, one for each purpose, so that a certificate of one is nothing to who trusts another (threat A4): users'
SSH, hosts' SSH, hubs' and agents' TLS (whose key is what pins name), users' TLS.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs
from cryptography import x509

from mezite.core.certificates.identity import PeerKind
from mezite.core.certificates.keys import (
    InvalidKeyError,
    PrivateKey,
    PublicKey,
    load_public_key,
    spki_sha256,
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
from mezite.services.authority_keys import (
    Authority,
    CaPassphraseError,
    Purpose,
    make_authority,
    open_authority,
)
from mezite.services.sources import Sources
from mezite.storage import certificate_authorities as rows
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

AGENT_LIFETIME_S: Final = 24 * 3600
HUB_LIFETIME_S: Final = 24 * 3600
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


@attrs.frozen(kw_only=True)
class UserCertificates:
    """What a user gets."""

    ssh_certificate: str
    tls_certificate_pem: str
    serial: int
    expires_at: int


class CertificateAuthorities:
    """All CAs of the cluster, opened."""

    def __init__(self, *, cluster: str, authorities: Mapping[Purpose, Authority], sources: Sources) -> None:
        self.cluster = cluster
        self._authorities = authorities
        self._sources = sources

    @classmethod
    async def open(
        cls, database: Database, *, cluster: str, passphrase: Secret | None, sources: Sources
    ) -> CertificateAuthorities:
        """Read the CAs, making those that are missing; hubs that start at once agree on one key each.

        :raises CaPassphraseError: the passphrase does not open the stored keys.
        """
        secret = None if passphrase is None else passphrase.reveal().encode()
        opened: dict[Purpose, Authority] = {}
        for purpose in Purpose:
            row = await database.read(rows.get_active, purpose=purpose.value)
            if row is None:
                made = make_authority(purpose, cluster, secret, sources)
                row = await database.write(rows.insert_active_if_absent, row=made)
            opened[purpose] = open_authority(row, secret)
        return cls(cluster=cluster, authorities=opened, sources=sources)

    @property
    def host_pin(self) -> str:
        """The pin of the Host CA: 64 hex digits."""
        return spki_sha256(self._authorities[Purpose.HOST_TLS].key.public_key())

    @property
    def host_tls_ca_pem(self) -> list[str]:
        """The certificates of the CAs of hubs and agents."""
        return [certificate_pem(self._certificate(Purpose.HOST_TLS)).decode()]

    @property
    def user_tls_ca_pem(self) -> list[str]:
        """The certificates of the CAs of users."""
        return [certificate_pem(self._certificate(Purpose.USER_TLS)).decode()]

    @property
    def user_ssh_ca_lines(self) -> list[str]:
        """The public keys of the CAs of users, as OpenSSH writes them."""
        return [self._ssh_line(Purpose.USER_SSH)]

    @property
    def host_ssh_ca_lines(self) -> list[str]:
        """The public keys of the CAs of nodes, as OpenSSH writes them."""
        return [self._ssh_line(Purpose.HOST_SSH)]

    @property
    def user_ssh_ca_blobs(self) -> list[bytes]:
        """The same as the wire form that the verifier compares with."""
        return [public_key_blob(self._authorities[Purpose.USER_SSH].key.public_key())]

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
                    ca_certs=[self._certificate(purpose)],
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
            self._certificate(Purpose.HOST_TLS),
            self._authorities[Purpose.HOST_TLS].key,
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
            self._authorities[Purpose.HOST_SSH].key,
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
        ca = self._certificate(Purpose.HOST_TLS)
        certificate = issue_hub_certificate(
            ca,
            self._authorities[Purpose.HOST_TLS].key,
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
            self._authorities[Purpose.HOST_SSH].key,
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
            self._certificate(Purpose.USER_TLS),
            self._authorities[Purpose.USER_TLS].key,
            load_public_key(request.tls_public_key_pem),
            UserX509Spec(
                cluster=self.cluster,
                user_name=request.user_name,
                roles=request.roles,
                traits=request.traits,
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
            self._authorities[Purpose.USER_SSH].key,
            _parse_ssh_key(request.ssh_public_key),
            UserCertificateSpec(
                serial=serial,
                key_id=request.user_name,
                principals=request.principals,
                valid_after=now - BACKDATE_S,
                valid_before=now + request.ttl_seconds,
                nonce=self._sources.token_bytes(32),
                extensions=request.extensions,
                roles=request.roles,
                traits=request.traits,
            ),
        )
        return authorized_key_line(blob, f"{request.user_name}@{self.cluster}")

    def _certificate(self, purpose: Purpose) -> x509.Certificate:
        certificate = self._authorities[purpose].certificate
        if certificate is None:
            raise AssertionError(f"the {purpose.value} CA has no certificate")
        return certificate

    def _ssh_line(self, purpose: Purpose) -> str:
        blob = public_key_blob(self._authorities[purpose].key.public_key())
        return authorized_key_line(blob, f"{purpose.value}@{self.cluster}")


def _parse_ssh_key(line: str) -> PublicKey:
    try:
        return parse_public_key_blob(parse_authorized_key_line(line)[1])
    except MalformedWireError as error:
        raise InvalidKeyError(f"the SSH public key is damaged: {error}") from None
