# SPDX-License-Identifier: Apache-2.0
"""The one verifier of X.509 identities (threat F4): who is at the other end of a TLS connection.

TLS itself has proven possession of the key and walked the chain. This checks again, for its own sake, that a
CA of this purpose signed the certificate directly, and then what TLS does not know: cluster, kind, usage,
and the identity in its one URI. The same function serves where no TLS handshake happened (a proof signed
with the certificate's key).
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtensionOID

from mezite.core.certificates.identity import (
    IdentityError,
    PeerKind,
    check_device_id,
    decode_request_ids,
    decode_roles,
    decode_traits,
    parse_identity_uri,
)
from mezite.core.certificates.keys import InvalidKeyError, check_public_key, spki_sha256
from mezite.core.certificates.refusal import CertificateRefused, Reason
from mezite.core.certificates.source_address import InvalidAddressError, parse_source_addresses
from mezite.core.certificates.validity import check_window
from mezite.core.certificates.verified import VerifiedPeer, construct_verified
from mezite.core.certificates.x509_envelope import MalformedEnvelopeError, is_signed_by, parse_envelope
from mezite.core.certificates.x509_extensions import (
    DEVICE,
    GENERATION,
    NODE_NAME,
    REQUESTS,
    ROLES,
    SOURCE_ADDRESS,
    TRAITS,
    decode_utf8,
    parse_generation,
)
from mezite.core.certificates.x509_issue import PARSE_ERRORS, USAGES, check_tls_key
from mezite.core.names import InvalidNameError, check_node_name

__all__ = ["MAX_DER_BYTES", "pinned_ca", "verify_x509"]

MAX_DER_BYTES = 16 * 1024
"""An identity has 1 kB; with the largest traits a user can have about 12 kB."""

STANDARD_EXTENSIONS = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.EXTENDED_KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    }
)
"""Each must be there, and only these may be critical."""

OWN_EXTENSIONS: Mapping[PeerKind, frozenset[x509.ObjectIdentifier]] = {
    PeerKind.AGENT: frozenset({GENERATION, NODE_NAME}),
    PeerKind.HUB: frozenset(),
    PeerKind.USER: frozenset({ROLES, TRAITS}),
}
"""Each kind carries all of its own and none of another's."""

OPTIONAL_EXTENSIONS: Mapping[PeerKind, frozenset[x509.ObjectIdentifier]] = {
    PeerKind.AGENT: frozenset(),
    PeerKind.HUB: frozenset(),
    PeerKind.USER: frozenset({REQUESTS, DEVICE, SOURCE_ADDRESS}),
}
"""What a kind may carry besides."""

Extensions = Mapping[x509.ObjectIdentifier, x509.Extension[x509.ExtensionType]]


@attrs.frozen(kw_only=True)
class Fields:
    """The parts of a certificate, all parsed: the library parses lazily, damage would show up late."""

    extensions: Extensions
    spki_sha256: str
    serial: int
    not_before: int
    not_after: int


def verify_x509(
    der: bytes, *, ca_certs: Collection[x509.Certificate], cluster: str, kind: PeerKind, now: int
) -> VerifiedPeer:
    """Check the certificate of a TLS peer completely, except for possession of its key, which TLS proves.

    ``ca_certs`` are the CAs of this purpose and of nothing else: the host-TLS CAs for agents and hubs, the
    user-TLS CAs for users. ``now`` is in seconds since 1970. Locks and the generation are the caller's to
    judge (threat F8).

    Raises CertificateRefused.
    """
    check_signer(der, ca_certs, now)
    fields = parse(der)
    check_window(f"the {kind.value} certificate", fields.not_before, fields.not_after, now)
    check_extension_set(fields.extensions)
    name = check_identity(fields.extensions, cluster, kind)
    check_usage(fields.extensions, kind)
    texts = own_texts(fields.extensions, kind)
    try:
        generation = parse_generation(texts[GENERATION]) if GENERATION in texts else None
        node_name = check_node_name(texts[NODE_NAME]) if NODE_NAME in texts else None
        roles = decode_roles(texts.get(ROLES, ""))
        traits = decode_traits(texts.get(TRAITS, "{}"))
        request_ids = decode_request_ids(texts[REQUESTS]) if REQUESTS in texts else ()
        device_id = check_device_id(texts[DEVICE]) if DEVICE in texts else ""
        source_address = checked_addresses(texts.get(SOURCE_ADDRESS))
    except (IdentityError, InvalidNameError) as error:
        raise CertificateRefused(Reason.BAD_IDENTITY, f"its identity is malformed: {error}") from None
    return construct_verified(
        VerifiedPeer,
        kind=kind,
        name=name,
        cluster=cluster,
        generation=generation,
        node_name=node_name,
        roles=roles,
        traits=MappingProxyType(traits),
        request_ids=request_ids,
        device_id=device_id,
        source_address=source_address,
        serial=fields.serial,
        not_before=fields.not_before,
        not_after=fields.not_after,
        spki_sha256=fields.spki_sha256,
    )


def check_signer(der: bytes, ca_certs: Collection[x509.Certificate], now: int) -> None:
    """A CA of this purpose signed ``der`` itself; comes first, so that strangers' bytes are parsed no
    further.
    """
    if len(der) > MAX_DER_BYTES:
        raise CertificateRefused(Reason.TOO_LARGE, f"a certificate of {len(der)} bytes is refused unread")
    try:
        envelope = parse_envelope(der)
    except MalformedEnvelopeError as error:
        raise CertificateRefused(Reason.MALFORMED, f"the certificate is malformed: {error}") from None
    issuers = [ca for ca in ca_certs if ca.subject.public_bytes() == envelope.issuer]
    if not issuers:
        raise CertificateRefused(
            Reason.UNTRUSTED_SIGNER, "the certificate is not from a certificate authority trusted for this"
        )
    for ca in issuers:
        if is_signed_by(envelope, ca.public_key()):
            check_ca(ca, now)
            return
    raise CertificateRefused(
        Reason.BAD_SIGNATURE, "the signature is wrong, or by an algorithm that is not accepted"
    )


def parse(der: bytes) -> Fields:
    try:
        certificate = x509.load_der_x509_certificate(der)
        return Fields(
            extensions={extension.oid: extension for extension in certificate.extensions},
            spki_sha256=spki_sha256(check_tls_key(certificate.public_key())),
            serial=certificate.serial_number,
            not_before=int(certificate.not_valid_before_utc.timestamp()),
            not_after=int(certificate.not_valid_after_utc.timestamp()) + 1,
        )
    except InvalidKeyError as error:
        raise CertificateRefused(Reason.UNSUPPORTED_KEY, f"the certified key is refused: {error}") from None
    except (*PARSE_ERRORS, x509.DuplicateExtension):
        raise CertificateRefused(Reason.MALFORMED, "the certificate is not well-formed DER") from None


def check_ca(ca: x509.Certificate, now: int) -> None:
    """A CA certificate is of the form that issue_ca_certificate writes, and in its window."""
    try:
        basic = ca.extensions.get_extension_for_class(x509.BasicConstraints).value
        usage = ca.extensions.get_extension_for_class(x509.KeyUsage).value
        check_public_key(ca.public_key())
    except (*PARSE_ERRORS, x509.ExtensionNotFound, x509.DuplicateExtension):
        raise CertificateRefused(Reason.UNTRUSTED_SIGNER, "the CA certificate is malformed") from None
    if not basic.ca or basic.path_length != 0 or not usage.key_cert_sign:
        raise CertificateRefused(Reason.UNTRUSTED_SIGNER, "the signer is not a certificate authority")
    not_after = int(ca.not_valid_after_utc.timestamp()) + 1
    check_window("the CA certificate", int(ca.not_valid_before_utc.timestamp()), not_after, now)


def check_extension_set(extensions: Extensions) -> None:
    for oid, extension in extensions.items():
        if extension.critical and oid not in STANDARD_EXTENSIONS:
            raise CertificateRefused(
                Reason.UNKNOWN_CRITICAL_OPTION, f"the critical extension {oid.dotted_string} is not known"
            )
    missing = STANDARD_EXTENSIONS - extensions.keys()
    if missing:
        raise CertificateRefused(
            Reason.WRONG_USAGE,
            "basic constraints, key usage, extended key usage or alternative name are missing",
        )


def check_identity(extensions: Extensions, cluster: str, kind: PeerKind) -> str:
    """The name in the only URI SAN, after comparing cluster and kind exactly (threat F4)."""
    names = extensions[ExtensionOID.SUBJECT_ALTERNATIVE_NAME].value
    assert isinstance(names, x509.SubjectAlternativeName)
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    others = {type(name) for name in names} - {x509.UniformResourceIdentifier}
    if len(uris) != 1:
        raise CertificateRefused(
            Reason.BAD_IDENTITY, f"the certificate has {len(uris)} identities instead of one"
        )
    try:
        its_cluster, its_kind, name = parse_identity_uri(uris[0])
    except IdentityError as error:
        raise CertificateRefused(Reason.BAD_IDENTITY, str(error)) from None
    if its_cluster != cluster:
        raise CertificateRefused(
            Reason.WRONG_CLUSTER, f"the certificate is of cluster {its_cluster!r}, this is {cluster!r}"
        )
    if its_kind is not kind:
        raise CertificateRefused(
            Reason.WRONG_TYPE, f"the certificate is of kind {its_kind.value}, {kind.value} is needed"
        )
    allowed = {x509.DNSName, x509.IPAddress} if kind is PeerKind.HUB else set()
    if others - allowed:
        raise CertificateRefused(
            Reason.BAD_IDENTITY, "the certificate has names of a type that is not allowed"
        )
    return name


def check_usage(extensions: Extensions, kind: PeerKind) -> None:
    basic = extensions[ExtensionOID.BASIC_CONSTRAINTS].value
    usage = extensions[ExtensionOID.KEY_USAGE].value
    extended = extensions[ExtensionOID.EXTENDED_KEY_USAGE].value
    assert isinstance(basic, x509.BasicConstraints)
    assert isinstance(usage, x509.KeyUsage)
    assert isinstance(extended, x509.ExtendedKeyUsage)
    if basic.ca or usage.key_cert_sign or usage.crl_sign or not usage.digital_signature:
        raise CertificateRefused(
            Reason.WRONG_USAGE, "the certificate is not one for a peer but for signing others"
        )
    if set(extended) != set(USAGES[kind]):
        raise CertificateRefused(
            Reason.WRONG_USAGE, f"the certificate is not for use by a peer of kind {kind.value}"
        )


def checked_addresses(text: str | None) -> str:
    """The blocks that the certificate is pinned to; empty for none. Whether the peer is in them, others say."""
    if text is None:
        return ""
    try:
        parse_source_addresses(text)
    except InvalidAddressError as error:
        raise IdentityError(str(error)) from None
    return text


def own_texts(extensions: Extensions, kind: PeerKind) -> dict[x509.ObjectIdentifier, str]:
    every = (*OWN_EXTENSIONS.values(), *OPTIONAL_EXTENSIONS.values())
    present = extensions.keys() & frozenset().union(*every)
    if present - OPTIONAL_EXTENSIONS[kind] != OWN_EXTENSIONS[kind]:
        raise CertificateRefused(
            Reason.BAD_IDENTITY, f"the identity extensions are not those of a peer of kind {kind.value}"
        )
    texts = {}
    for oid in present:
        value = extensions[oid].value
        assert isinstance(value, x509.UnrecognizedExtension)
        try:
            texts[oid] = decode_utf8(value.value)
        except IdentityError as error:
            raise CertificateRefused(Reason.BAD_IDENTITY, str(error)) from None
    return texts


def pinned_ca(certificates: Collection[x509.Certificate], pin: str, now: int) -> x509.Certificate:
    """The CA certificate out of an untrusted bundle whose key hashes to ``pin`` (64 hexadecimal digits).

    The others of the bundle are worth nothing: the pin does not speak for them.

    Raises CertificateRefused: none hashes to the pin, or that one is not a self-signed CA in its window.
    """
    for certificate in certificates:
        try:
            found = spki_sha256(check_public_key(certificate.public_key()))
            envelope = parse_envelope(certificate.public_bytes(Encoding.DER))
        except PARSE_ERRORS:
            continue
        if found == pin:
            if not is_signed_by(envelope, certificate.public_key()):
                raise CertificateRefused(
                    Reason.BAD_SIGNATURE, "the pinned CA certificate is not signed by itself"
                )
            check_ca(certificate, now)
            return certificate
    raise CertificateRefused(
        Reason.UNTRUSTED_SIGNER,
        "no certificate authority offered has the pinned key: this is another cluster, or not the hub",
    )
