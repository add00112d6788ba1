# SPDX-License-Identifier: Apache-2.0
"""Issuing X.509 certificates: self-issued CAs, and the identities of agents, hubs and users.

The identity is one URI SAN (``identity.identity_uri``); the common name is for people. Serials and times
come from the caller. CAs and TLS keys are P-256 (see ``keys`` for the reason); Ed25519 works as well.
"""

import datetime
import enum
import ipaddress
from collections.abc import Collection, Mapping

import attrs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mezite.core.certificates.identity import (
    PeerKind,
    check_device_id,
    encode_request_ids,
    encode_roles,
    encode_traits,
    identity_uri,
)
from mezite.core.certificates.keys import (
    InvalidKeyError,
    PrivateKey,
    PublicKey,
    check_public_key,
    spki_sha256,
)
from mezite.core.certificates.source_address import parse_source_addresses
from mezite.core.certificates.validity import Validity
from mezite.core.certificates.x509_extensions import (
    DEVICE,
    GENERATION,
    NODE_NAME,
    REQUESTS,
    ROLES,
    SOURCE_ADDRESS,
    TRAITS,
    encode_utf8,
)
from mezite.core.names import check_cluster_name, check_node_name

__all__ = [
    "AgentCertificateSpec",
    "CaPurpose",
    "HubCertificateSpec",
    "UserX509Spec",
    "certificate_pem",
    "certificate_spki_sha256",
    "issue_agent_certificate",
    "issue_ca_certificate",
    "issue_hub_certificate",
    "issue_user_certificate_x509",
    "load_certificates",
    "public_key_from_csr",
]

MAX_PEM_BYTES = 256 * 1024
"""A bundle of two CAs and a chain has 4 kB."""

MAX_CSR_BYTES = 16 * 1024

PARSE_ERRORS = (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion)
"""What the library raises for damaged input; fields are parsed when they are first looked at."""

MAX_SERIAL = 1 << 159
"""RFC 5280 section 4.1.2.2: positive, at most 20 bytes of DER."""

USAGES = {
    PeerKind.AGENT: (ExtendedKeyUsageOID.CLIENT_AUTH,),
    PeerKind.HUB: (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH),
    PeerKind.USER: (ExtendedKeyUsageOID.CLIENT_AUTH,),
}
"""Hubs also dial other hubs."""


class CaPurpose(enum.Enum):
    """The X.509 CAs of a cluster; a certificate of one is nothing to who trusts the other (threat A4)."""

    HOST_TLS = "host-tls"
    USER_TLS = "user-tls"


@attrs.frozen(kw_only=True)
class AgentCertificateSpec:
    """What to put into an agent's identity certificate."""

    cluster: str
    agent_id: str
    node_name: str
    generation: int
    """From 1, one more at each renewal."""
    serial: int
    """0 < serial < 2**159, unpredictable."""
    validity: Validity


@attrs.frozen(kw_only=True)
class HubCertificateSpec:
    """What to put into a hub's certificate."""

    cluster: str
    hub_id: str
    host_names: Collection[str] = ()
    """DNS names that clients dial; ``*.apps.example.com`` is possible, it is no part of the identity."""
    addresses: Collection[str] = ()
    """IP addresses that clients dial."""
    serial: int
    validity: Validity


@attrs.frozen(kw_only=True)
class UserX509Spec:
    """What to put into a user's certificate."""

    cluster: str
    user_name: str
    roles: Collection[str] = ()
    traits: Mapping[str, Collection[str]] = attrs.field(factory=dict)
    request_ids: Collection[str] = ()
    """Access requests that it is issued for."""
    device_id: str = ""
    """The enrolled device that it is issued to; empty for none."""
    source_address: str = ""
    """The address blocks that it is good for; empty for all."""
    serial: int
    validity: Validity


def issue_ca_certificate(
    ca_key: PrivateKey, *, cluster: str, purpose: CaPurpose, serial: int, validity: Validity
) -> x509.Certificate:
    """A self-issued CA that may sign end certificates only (path length 0).

    Its name holds the start of its key's pin, so that the CAs before and after a rotation have different
    names.

    Raises ValueError: bad cluster name, serial or window.
    """
    check_cluster_name(cluster)
    pin = spki_sha256(ca_key.public_key())
    name = subject(f"{purpose.value} CA {pin[:16]}", cluster)
    usage = key_usage(digital_signature=False, certificate_sign=True)
    builder = (
        start(name, name, ca_key.public_key(), serial, validity)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
    )
    return signed(builder, ca_key)


def issue_agent_certificate(
    ca: x509.Certificate, ca_key: PrivateKey, public_key: PublicKey, spec: AgentCertificateSpec
) -> x509.Certificate:
    """The identity of an agent, by the host-TLS CA. Raises ValueError: bad name, generation, serial, window
    or key.
    """
    if not 1 <= spec.generation < 10**10:
        raise ValueError(f"generation {spec.generation} is not between 1 and ten digits")
    check_node_name(spec.node_name)
    builder = (
        leaf(
            ca,
            ca_key,
            public_key,
            spec.serial,
            spec.validity,
            peer=(spec.cluster, PeerKind.AGENT, spec.agent_id),
        )
        .add_extension(
            x509.UnrecognizedExtension(GENERATION, encode_utf8(str(spec.generation))), critical=False
        )
        .add_extension(x509.UnrecognizedExtension(NODE_NAME, encode_utf8(spec.node_name)), critical=False)
    )
    return signed(builder, ca_key)


def issue_hub_certificate(
    ca: x509.Certificate, ca_key: PrivateKey, public_key: PublicKey, spec: HubCertificateSpec
) -> x509.Certificate:
    """The identity of a hub, by the host-TLS CA. Raises ValueError: bad name, address, serial, window or
    key.
    """
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in spec.host_names]
    names += [x509.IPAddress(ipaddress.ip_address(text)) for text in spec.addresses]
    peer = (spec.cluster, PeerKind.HUB, spec.hub_id)
    builder = leaf(ca, ca_key, public_key, spec.serial, spec.validity, peer=peer, more_names=names)
    return signed(builder, ca_key)


def issue_user_certificate_x509(
    ca: x509.Certificate, ca_key: PrivateKey, public_key: PublicKey, spec: UserX509Spec
) -> x509.Certificate:
    """The identity of a user, by the user-TLS CA.

    Raises ValueError: bad name, roles, traits, request or device id, address, serial, window or key.
    """
    texts = {ROLES: encode_roles(spec.roles), TRAITS: encode_traits(spec.traits)}
    if spec.request_ids:
        texts[REQUESTS] = encode_request_ids(spec.request_ids)
    if spec.device_id:
        texts[DEVICE] = check_device_id(spec.device_id)
    if spec.source_address:
        parse_source_addresses(spec.source_address)
        texts[SOURCE_ADDRESS] = spec.source_address
    peer = (spec.cluster, PeerKind.USER, spec.user_name)
    builder = leaf(ca, ca_key, public_key, spec.serial, spec.validity, peer=peer)
    for oid, text in texts.items():
        builder = builder.add_extension(x509.UnrecognizedExtension(oid, encode_utf8(text)), critical=False)
    return signed(builder, ca_key)


def leaf(
    ca: x509.Certificate,
    ca_key: PrivateKey,
    public_key: PublicKey,
    serial: int,
    validity: Validity,
    *,
    peer: tuple[str, PeerKind, str],
    more_names: Collection[x509.GeneralName] = (),
) -> x509.CertificateBuilder:
    cluster, kind, name = peer
    if spki_sha256(ca_key.public_key()) != certificate_spki_sha256(ca):
        raise ValueError("the CA certificate is not of the CA key")
    check_tls_key(public_key)
    identity = x509.UniformResourceIdentifier(identity_uri(cluster, kind, name))
    authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    return (
        start(subject(name, cluster), ca.subject, public_key, serial, validity)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(key_usage(digital_signature=True, certificate_sign=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(USAGES[kind]), critical=False)
        .add_extension(x509.SubjectAlternativeName([identity, *more_names]), critical=False)
        .add_extension(authority, critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def check_tls_key(key: object) -> PublicKey:
    """Return ``key`` if a peer's TLS key may be it: P-256 or Ed25519, nothing else is ever made.

    Raises InvalidKeyError.
    """
    public_key = check_public_key(key)
    if isinstance(public_key, ec.EllipticCurvePublicKey) and public_key.curve.name == "secp256r1":
        return public_key
    if isinstance(public_key, ed25519.Ed25519PublicKey):
        return public_key
    raise InvalidKeyError("a TLS key is P-256 or Ed25519")


def subject(common_name: str, cluster: str) -> x509.Name:
    # RFC 5280 ends a common name at 64 characters; the identity, which may be longer, is in the URI.
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, cluster[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, common_name[:64]),
        ]
    )


def key_usage(*, digital_signature: bool, certificate_sign: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=digital_signature,
        key_cert_sign=certificate_sign,
        crl_sign=certificate_sign,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def start(
    name: x509.Name, issuer: x509.Name, public_key: PublicKey, serial: int, validity: Validity
) -> x509.CertificateBuilder:
    if not 0 < serial < MAX_SERIAL:
        raise ValueError("an X.509 serial is positive and below 2**159")
    if validity.not_before >= validity.not_after:
        raise ValueError("the certificate would end before it begins")
    # notAfter names the last valid second (RFC 5280 section 4.1.2.5), ours the first invalid one.
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(datetime.datetime.fromtimestamp(validity.not_before, datetime.UTC))
        .not_valid_after(datetime.datetime.fromtimestamp(validity.not_after - 1, datetime.UTC))
    )


def signed(builder: x509.CertificateBuilder, ca_key: PrivateKey) -> x509.Certificate:
    digest = None if isinstance(ca_key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(ca_key, digest)


def public_key_from_csr(pem: bytes) -> PublicKey:
    """The key of a certificate signing request in PEM; names and extensions asked for in it are ignored.

    Raises InvalidKeyError: damaged, not self-signed (no proof of possession), or not a TLS key.
    """
    if len(pem) > MAX_CSR_BYTES:
        raise InvalidKeyError(f"a signing request of {len(pem)} bytes is too long")
    try:
        request = x509.load_pem_x509_csr(pem)
        key = check_tls_key(request.public_key())
        valid = request.is_signature_valid
    except InvalidKeyError:
        raise
    except PARSE_ERRORS:
        raise InvalidKeyError("the signing request is damaged") from None
    if not valid:
        raise InvalidKeyError("the signing request is not signed by its own key")
    return key


def certificate_pem(certificate: x509.Certificate) -> bytes:
    """One certificate in PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def certificate_spki_sha256(certificate: x509.Certificate) -> str:
    """The pin of a certificate's key. Raises InvalidKeyError: damaged, or not a supported key."""
    try:
        key = certificate.public_key()
    except PARSE_ERRORS:
        raise InvalidKeyError("the certified key is damaged or of an unknown kind") from None
    return spki_sha256(check_public_key(key))


def load_certificates(pem: bytes) -> tuple[x509.Certificate, ...]:
    """All certificates of a PEM bundle, at least one.

    Raises ValueError: none, damaged, or more than 256 KiB.
    """
    if len(pem) > MAX_PEM_BYTES:
        raise ValueError(f"a certificate bundle of {len(pem)} bytes is too long")
    return tuple(x509.load_pem_x509_certificates(pem))
