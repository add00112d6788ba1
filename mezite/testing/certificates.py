# SPDX-License-Identifier: Apache-2.0
"""A throw-away cluster's CAs, and certificates from them for tests.

Keys are real and made once per ThrowAwayCa; serials and nonces count up, so that a failing test shows small
numbers.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from mezite.core.certificates.keys import PublicKey, generate_ed25519, generate_p256, private_key_pem
from mezite.core.certificates.ssh import (
    HostCertificateSpec,
    UserCertificateSpec,
    issue_host_certificate,
    issue_user_certificate,
    public_key_blob,
)
from mezite.core.certificates.x509 import (
    AgentCertificateSpec,
    CaPurpose,
    HubCertificateSpec,
    UserX509Spec,
    Validity,
    certificate_pem,
    issue_agent_certificate,
    issue_ca_certificate,
    issue_hub_certificate,
    issue_user_certificate_x509,
)

__all__ = ["ThrowAwayCa", "TlsIdentity"]

DAY = 86_400


@attrs.frozen
class TlsIdentity:
    """A key and its certificate, as what TLS contexts and verifiers want."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @property
    def key_pem(self) -> bytes:
        """The key in PEM, unencrypted."""
        return private_key_pem(self.key)

    @property
    def certificate_pem(self) -> bytes:
        """The certificate in PEM."""
        return certificate_pem(self.certificate)


@attrs.define(eq=False)
class ThrowAwayCa:
    """The four CAs of a cluster that exists for one test.

    What it issues is valid from five minutes before ``now`` (seconds since 1970) for a day.
    """

    now: int
    cluster: str = "test"
    user_ssh: ed25519.Ed25519PrivateKey = attrs.field(factory=generate_ed25519, kw_only=True)
    host_ssh: ed25519.Ed25519PrivateKey = attrs.field(factory=generate_ed25519, kw_only=True)
    host_tls: ec.EllipticCurvePrivateKey = attrs.field(factory=generate_p256, kw_only=True)
    user_tls: ec.EllipticCurvePrivateKey = attrs.field(factory=generate_p256, kw_only=True)
    serials: Iterator[int] = attrs.field(factory=lambda: itertools.count(1), init=False)
    host_tls_ca: x509.Certificate = attrs.field(init=False)
    user_tls_ca: x509.Certificate = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        """Make the two X.509 CAs; they last ten years."""
        self.host_tls_ca = self.make_ca(self.host_tls, CaPurpose.HOST_TLS)
        self.user_tls_ca = self.make_ca(self.user_tls, CaPurpose.USER_TLS)

    def make_ca(self, key: ec.EllipticCurvePrivateKey, purpose: CaPurpose) -> x509.Certificate:
        """A CA certificate of this cluster for ``key``."""
        validity = Validity.starting(self.now, 3650 * DAY)
        return issue_ca_certificate(
            key, cluster=self.cluster, purpose=purpose, serial=next(self.serials), validity=validity
        )

    @property
    def user_ssh_blob(self) -> bytes:
        """What ``trusted_cas`` holds where user certificates are verified."""
        return public_key_blob(self.user_ssh.public_key())

    @property
    def host_ssh_blob(self) -> bytes:
        """What ``trusted_cas`` holds where host certificates are verified."""
        return public_key_blob(self.host_ssh.public_key())

    def user_certificate(self, public_key: PublicKey, **changes: Any) -> bytes:
        """An SSH certificate of ``alice`` for login ``ubuntu``; ``changes`` are fields of
        UserCertificateSpec.
        """
        serial = next(self.serials)
        spec = UserCertificateSpec(
            serial=serial,
            key_id="alice",
            principals=("ubuntu",),
            valid_after=self.now - 300,
            valid_before=self.now + DAY,
            nonce=serial.to_bytes(32, "big"),
            extensions=("permit-pty", "permit-port-forwarding", "permit-agent-forwarding"),
            roles=("access",),
            traits={"logins": ("ubuntu",)},
        )
        return issue_user_certificate(self.user_ssh, public_key, attrs.evolve(spec, **changes))

    def host_certificate(self, public_key: PublicKey, *names: str, **changes: Any) -> bytes:
        """An SSH certificate for the node ``names``; ``changes`` are fields of HostCertificateSpec."""
        serial = next(self.serials)
        spec = HostCertificateSpec(
            serial=serial,
            key_id=names[0],
            principals=names,
            valid_after=self.now - 300,
            valid_before=self.now + DAY,
            nonce=serial.to_bytes(32, "big"),
        )
        return issue_host_certificate(self.host_ssh, public_key, attrs.evolve(spec, **changes))

    def agent(self, agent_id: str = "agent-1", node_name: str = "web-1", generation: int = 1) -> TlsIdentity:
        """An agent's key and certificate."""
        key = generate_p256()
        spec = AgentCertificateSpec(
            cluster=self.cluster,
            agent_id=agent_id,
            node_name=node_name,
            generation=generation,
            serial=next(self.serials),
            validity=Validity.starting(self.now, DAY),
        )
        return TlsIdentity(
            key, issue_agent_certificate(self.host_tls_ca, self.host_tls, key.public_key(), spec)
        )

    def hub(self, hub_id: str = "hub-1", host_names: tuple[str, ...] = ("localhost",)) -> TlsIdentity:
        """A hub's key and certificate, good for ``host_names`` and the loopback addresses."""
        key = generate_p256()
        spec = HubCertificateSpec(
            cluster=self.cluster,
            hub_id=hub_id,
            host_names=host_names,
            addresses=("127.0.0.1", "::1"),
            serial=next(self.serials),
            validity=Validity.starting(self.now, DAY),
        )
        return TlsIdentity(
            key, issue_hub_certificate(self.host_tls_ca, self.host_tls, key.public_key(), spec)
        )

    def user(self, name: str = "alice", roles: tuple[str, ...] = ("access",), **changes: Any) -> TlsIdentity:
        """A user's key and certificate; ``changes`` are fields of UserX509Spec."""
        key = generate_p256()
        spec = UserX509Spec(
            cluster=self.cluster,
            user_name=name,
            roles=roles,
            traits={"logins": ("ubuntu",)},
            serial=next(self.serials),
            validity=Validity.starting(self.now, DAY),
        )
        spec = attrs.evolve(spec, **changes)
        certificate = issue_user_certificate_x509(self.user_tls_ca, self.user_tls, key.public_key(), spec)
        return TlsIdentity(key, certificate)
