# SPDX-License-Identifier: Apache-2.0
"""Agent certificates that are right, and in how many ways they can be wrong (threat F4).

tests/core/certificates/test_x509_verify.py holds the verifier against them, and
tests/e2e/test_x509_certificates.py OpenSSL: what we accept, OpenSSL accepts.
"""

import datetime
import functools
import ipaddress
from collections.abc import Callable

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from mezite.core.certificates.refusal import Reason
from mezite.core.certificates.x509_extensions import (
    DEVICE,
    GENERATION,
    NODE_NAME,
    REQUESTS,
    ROLES,
    encode_utf8,
)

NOW = 1_800_000_000
CLUSTER = "test"
AGENT = "mezite://test/agent/agent-1"

CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER = ExtendedKeyUsageOID.SERVER_AUTH


@functools.cache
def key(name: str):
    """A key by a name that ends in its kind."""
    match name.partition("-")[2]:
        case "ed25519":
            return ed25519.Ed25519PrivateKey.generate()
        case "ed448":
            return ed448.Ed448PrivateKey.generate()
        case "rsa":
            return rsa.generate_private_key(65537, 2048)
        case "p384":
            return ec.generate_private_key(ec.SECP384R1())
        case "p256":
            return ec.generate_private_key(ec.SECP256R1())
        case other:
            raise ValueError(other)


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def moment(seconds: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC)


def usage(*names: str) -> x509.KeyUsage:
    bits = (
        "digital_signature",
        "content_commitment",
        "key_encipherment",
        "data_encipherment",
        "key_agreement",
        "key_cert_sign",
        "crl_sign",
        "encipher_only",
        "decipher_only",
    )
    return x509.KeyUsage(**{bit: bit in names for bit in bits})


def uri(*texts: str) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName([x509.UniformResourceIdentifier(text) for text in texts])


def own(oid: x509.ObjectIdentifier, text: str) -> x509.UnrecognizedExtension:
    return x509.UnrecognizedExtension(oid, encode_utf8(text))


def build(
    *,
    signer="ca-p256",
    issuer="CA",
    subject="agent-1",
    holder="peer-p256",
    serial=7,
    before=NOW - 300,
    after=NOW + 3600,
    digest=None,
    **changes,
) -> bytes:
    """An agent's certificate in DER; ``changes`` are extensions by name: (value, critical), or None."""
    extensions = {
        "basic": (x509.BasicConstraints(ca=False, path_length=None), True),
        "usage": (usage("digital_signature"), True),
        "extended": (x509.ExtendedKeyUsage([CLIENT]), False),
        "san": (uri(AGENT), False),
        "generation": (own(GENERATION, "3"), False),
        "node_name": (own(NODE_NAME, "web-1"), False),
    } | changes
    builder = (
        x509.CertificateBuilder()
        .subject_name(name(subject))
        .issuer_name(name(issuer))
        .public_key(key(holder).public_key())
        .serial_number(serial)
        .not_valid_before(moment(before))
        .not_valid_after(moment(after))
    )
    for extension in extensions.values():
        if extension is not None:
            builder = builder.add_extension(extension[0], critical=extension[1])
    plain = isinstance(key(signer), ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey)
    made = builder.sign(key(signer), None if plain else digest or hashes.SHA256())
    return made.public_bytes(Encoding.DER)


@functools.cache
def ca(signer: str = "ca-p256", subject: str = "CA", **changes) -> x509.Certificate:
    extensions = {
        "basic": (x509.BasicConstraints(ca=True, path_length=0), True),
        "usage": (usage("key_cert_sign", "crl_sign"), True),
        "extended": None,
        "san": None,
        "generation": None,
        "node_name": None,
    } | changes
    der = build(
        signer=signer, issuer=subject, subject=subject, holder=signer, after=NOW + 10**8, **extensions
    )
    return x509.load_der_x509_certificate(der)


def trusted() -> list[x509.Certificate]:
    """The CAs that the verifier, and OpenSSL, are told to trust."""
    return [ca(), ca("ca-ed25519", "CA Ed25519"), ca("ca-p384", "CA P-384"), ca("ca-rsa", "CA RSA")]


@attrs.frozen
class Mutation:
    """One certificate. ``reason`` None: we must accept it as that of agent-1."""

    name: str
    build: Callable[[], bytes]
    reason: Reason | None = None


def with_changes(**changes) -> Callable[[], bytes]:
    return lambda: build(**changes)


def san(*names: x509.GeneralName) -> Callable[[], bytes]:
    return with_changes(san=(x509.SubjectAlternativeName(names), False))


def identity(text: str) -> Callable[[], bytes]:
    return with_changes(san=(uri(text), False))


def without(extension: str) -> Callable[[], bytes]:
    return with_changes(**{extension: None})


def patched(old: bytes, new: bytes, **changes) -> Callable[[], bytes]:
    """The certificate with bytes replaced after it was signed."""

    def make() -> bytes:
        der = build(**changes)
        assert old in der
        return der.replace(old, new, 1)

    return make


def emptied_signature() -> bytes:
    der = build()
    bits = 3 + len(x509.load_der_x509_certificate(der).signature)
    body = der[4:-bits]
    content = body + b"\x03\x01\x00"
    return b"\x30\x82" + len(content).to_bytes(2, "big") + content


def through_a_leaf() -> bytes:
    """Signed by an agent's key whose certificate is the issuer: an end certificate is no CA."""
    return build(signer="peer-p256", issuer="agent-1", holder="other-p256")


def raw(oid: x509.ObjectIdentifier, value: bytes) -> tuple[x509.ExtensionType, bool]:
    return x509.UnrecognizedExtension(oid, value), False


URI = x509.UniformResourceIdentifier(AGENT)
LATER = x509.ObjectIdentifier("1.3.6.1.4.1.99999.1")

ACCEPTED = [
    Mutation("plain", build),
    Mutation("key Ed25519", with_changes(holder="peer-ed25519")),
    Mutation("CA Ed25519", with_changes(signer="ca-ed25519", issuer="CA Ed25519")),
    Mutation("serial of 20 bytes", with_changes(serial=(1 << 159) - 1)),
    Mutation("unknown extension, not critical", with_changes(later=raw(LATER, b"\x05\x00"))),
    Mutation("alternative name critical", with_changes(san=(uri(AGENT), True))),
    Mutation("extended usage critical", with_changes(extended=(x509.ExtendedKeyUsage([CLIENT]), True))),
    Mutation("subject says something else", with_changes(subject="hub-1")),
]

SIGNERS = [
    Mutation("CA of others, other name", with_changes(signer="x-p256", issuer="X"), Reason.UNTRUSTED_SIGNER),
    Mutation("CA of others, our CA's name", with_changes(signer="x-p256"), Reason.BAD_SIGNATURE),
    Mutation("self-signed", with_changes(signer="peer-p256", issuer="agent-1"), Reason.UNTRUSTED_SIGNER),
    Mutation("signed by an end certificate", through_a_leaf, Reason.UNTRUSTED_SIGNER),
    Mutation("issuer in other letters", with_changes(issuer="ca"), Reason.UNTRUSTED_SIGNER),
    Mutation("issuer of another of our CAs", with_changes(issuer="CA Ed25519"), Reason.BAD_SIGNATURE),
    Mutation("CA RSA", with_changes(signer="ca-rsa", issuer="CA RSA"), Reason.BAD_SIGNATURE),
    Mutation(
        "CA P-384 with SHA-384",
        with_changes(signer="ca-p384", issuer="CA P-384", digest=hashes.SHA384()),
        Reason.BAD_SIGNATURE,
    ),
    Mutation("SHA-512", with_changes(digest=hashes.SHA512()), Reason.BAD_SIGNATURE),
    Mutation("content changed", patched(b"web-1", b"web-2"), Reason.BAD_SIGNATURE),
    Mutation("serial changed", patched(b"\x02\x01\x07", b"\x02\x01\x08"), Reason.BAD_SIGNATURE),
    Mutation("signature empty", emptied_signature, Reason.BAD_SIGNATURE),
]

WINDOW = [
    Mutation("expired", with_changes(after=NOW - 1), Reason.EXPIRED),
    Mutation("not yet valid", with_changes(before=NOW + 1), Reason.NOT_YET_VALID),
]

USAGE = [
    Mutation(
        "a CA", with_changes(basic=(x509.BasicConstraints(ca=True, path_length=0), True)), Reason.WRONG_USAGE
    ),
    Mutation(
        "may sign certificates",
        with_changes(usage=(usage("digital_signature", "key_cert_sign"), True)),
        Reason.WRONG_USAGE,
    ),
    Mutation(
        "may sign lists",
        with_changes(usage=(usage("digital_signature", "crl_sign"), True)),
        Reason.WRONG_USAGE,
    ),
    Mutation("may not sign", with_changes(usage=(usage("key_encipherment"), True)), Reason.WRONG_USAGE),
    Mutation(
        "for servers", with_changes(extended=(x509.ExtendedKeyUsage([SERVER]), False)), Reason.WRONG_USAGE
    ),
    Mutation(
        "for servers too",
        with_changes(extended=(x509.ExtendedKeyUsage([CLIENT, SERVER]), False)),
        Reason.WRONG_USAGE,
    ),
    Mutation(
        "for anything",
        with_changes(extended=(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), False)),
        Reason.WRONG_USAGE,
    ),
    Mutation(
        "for code",
        with_changes(extended=(x509.ExtendedKeyUsage([CLIENT, ExtendedKeyUsageOID.CODE_SIGNING]), False)),
        Reason.WRONG_USAGE,
    ),
    Mutation("no extended usage", without("extended"), Reason.WRONG_USAGE),
    Mutation("no usage", without("usage"), Reason.WRONG_USAGE),
    Mutation("no basic constraints", without("basic"), Reason.WRONG_USAGE),
    Mutation(
        "unknown critical extension",
        with_changes(later=(x509.UnrecognizedExtension(LATER, b"\x05\x00"), True)),
        Reason.UNKNOWN_CRITICAL_OPTION,
    ),
    Mutation(
        "name constraints",
        with_changes(later=(x509.NameConstraints([x509.DNSName("x")], None), True)),
        Reason.UNKNOWN_CRITICAL_OPTION,
    ),
    Mutation(
        "own extension critical",
        with_changes(generation=(own(GENERATION, "3"), True)),
        Reason.UNKNOWN_CRITICAL_OPTION,
    ),
]

IDENTITY = [
    Mutation("no alternative name", without("san"), Reason.WRONG_USAGE),
    Mutation(
        "two identities",
        san(URI, x509.UniformResourceIdentifier("mezite://test/agent/agent-2")),
        Reason.BAD_IDENTITY,
    ),
    Mutation("the same identity twice", san(URI, URI), Reason.BAD_IDENTITY),
    Mutation("only a DNS name", san(x509.DNSName("agent-1")), Reason.BAD_IDENTITY),
    Mutation("a DNS name beside it", san(URI, x509.DNSName("localhost")), Reason.BAD_IDENTITY),
    Mutation(
        "an address beside it",
        san(URI, x509.IPAddress(ipaddress.ip_address("127.0.0.1"))),
        Reason.BAD_IDENTITY,
    ),
    Mutation("a mail address beside it", san(URI, x509.RFC822Name("a@example.com")), Reason.BAD_IDENTITY),
    Mutation("another cluster", identity("mezite://other/agent/agent-1"), Reason.WRONG_CLUSTER),
    Mutation("a cluster below", identity("mezite://x.test/agent/agent-1"), Reason.WRONG_CLUSTER),
    Mutation("cluster in capitals", identity("mezite://TEST/agent/agent-1"), Reason.BAD_IDENTITY),
    Mutation("another scheme", identity("spiffe://test/agent/agent-1"), Reason.BAD_IDENTITY),
    Mutation("scheme in capitals", identity("MEZITE://test/agent/agent-1"), Reason.BAD_IDENTITY),
    Mutation("a hub", identity("mezite://test/hub/agent-1"), Reason.WRONG_TYPE),
    Mutation("a user", identity("mezite://test/user/agent-1"), Reason.WRONG_TYPE),
    Mutation("an unknown kind", identity("mezite://test/robot/agent-1"), Reason.BAD_IDENTITY),
    Mutation("no name", identity("mezite://test/agent/"), Reason.BAD_IDENTITY),
    Mutation("a wildcard", identity("mezite://test/agent/*"), Reason.BAD_IDENTITY),
    Mutation("an escaped name", identity("mezite://test/agent/agent%2d1"), Reason.BAD_IDENTITY),
    Mutation("a longer path", identity("mezite://test/agent/agent-1/x"), Reason.BAD_IDENTITY),
    Mutation("a final slash", identity("mezite://test/agent/agent-1/"), Reason.BAD_IDENTITY),
    Mutation("a query", identity("mezite://test/agent/agent-1?x"), Reason.BAD_IDENTITY),
    Mutation("a port", identity("mezite://test:1/agent/agent-1"), Reason.BAD_IDENTITY),
    Mutation("a user part", identity("mezite://x@test/agent/agent-1"), Reason.BAD_IDENTITY),
    Mutation("a newline", identity("mezite://test/agent/agent-1\n"), Reason.BAD_IDENTITY),
    Mutation("a NUL", identity("mezite://test/agent/agent-1\0"), Reason.BAD_IDENTITY),
    Mutation("no generation", without("generation"), Reason.BAD_IDENTITY),
    Mutation("no node name", without("node_name"), Reason.BAD_IDENTITY),
    Mutation("generation 0", with_changes(generation=(own(GENERATION, "0"), False)), Reason.BAD_IDENTITY),
    Mutation(
        "generation negative", with_changes(generation=(own(GENERATION, "-1"), False)), Reason.BAD_IDENTITY
    ),
    Mutation(
        "generation with zeros in front",
        with_changes(generation=(own(GENERATION, "03"), False)),
        Reason.BAD_IDENTITY,
    ),
    Mutation(
        "generation as INTEGER",
        with_changes(generation=raw(GENERATION, b"\x02\x01\x03")),
        Reason.BAD_IDENTITY,
    ),
    Mutation(
        "generation with a trailing byte",
        with_changes(generation=raw(GENERATION, b"\x0c\x013\x00")),
        Reason.BAD_IDENTITY,
    ),
    Mutation(
        "node name in capitals", with_changes(node_name=(own(NODE_NAME, "WEB-1"), False)), Reason.BAD_IDENTITY
    ),
    Mutation(
        "node name not UTF-8", with_changes(node_name=raw(NODE_NAME, b"\x0c\x01\xff")), Reason.BAD_IDENTITY
    ),
    Mutation("requests of a user", with_changes(more=(own(REQUESTS, "a"), False)), Reason.BAD_IDENTITY),
    Mutation("device of a user", with_changes(more=(own(DEVICE, "a"), False)), Reason.BAD_IDENTITY),
    Mutation("roles of a user", with_changes(roles=(own(ROLES, "admin"), False)), Reason.BAD_IDENTITY),
]

FORM = [
    Mutation("key RSA", with_changes(holder="peer-rsa"), Reason.UNSUPPORTED_KEY),
    Mutation("key P-384", with_changes(holder="peer-p384"), Reason.UNSUPPORTED_KEY),
    Mutation("key Ed448", with_changes(holder="peer-ed448"), Reason.UNSUPPORTED_KEY),
    Mutation("nothing", lambda: b"", Reason.MALFORMED),
    Mutation("trailing byte", lambda: build() + b"\0", Reason.MALFORMED),
    Mutation("cut by one byte", lambda: build()[:-1], Reason.MALFORMED),
    Mutation("PEM", lambda: ca().public_bytes(Encoding.PEM), Reason.MALFORMED),
    Mutation("larger than any certificate", with_changes(later=raw(LATER, bytes(20_000))), Reason.TOO_LARGE),
    Mutation("serial 0", patched(b"\x02\x01\x07", b"\x02\x01\x00"), Reason.MALFORMED),
    Mutation("serial negative", patched(b"\x02\x01\x07", b"\x02\x01\xff"), Reason.MALFORMED),
    Mutation("version 1", patched(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x00"), Reason.MALFORMED),
    Mutation(
        "two algorithms",
        patched(
            b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02",
            b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03",
        ),
        Reason.MALFORMED,
    ),
    Mutation(
        "usage that is no usage",
        with_changes(
            usage=(x509.UnrecognizedExtension(x509.ObjectIdentifier("2.5.29.15"), b"\x05\x00"), True)
        ),
        Reason.MALFORMED,
    ),
]


MUTATIONS = [*ACCEPTED, *SIGNERS, *WINDOW, *USAGE, *IDENTITY, *FORM]
