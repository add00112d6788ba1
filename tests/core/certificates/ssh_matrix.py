# SPDX-License-Identifier: Apache-2.0
"""User certificates that are right, and in how many ways they can be wrong (threat A4).

Each states whether we accept it, and if not, why. tests/core/certificates/test_ssh_verify.py holds the
verifier against it; tests/e2e/test_ssh_certificates.py holds a real sshd against it: what we accept, sshd
accepts.
"""

import attrs

from mezite.core.certificates.refusal import Reason
from tests.core.certificates.ssh_material import (
    FOREVER,
    SUFFIX,
    Build,
    certified_ca,
    compressed_point,
    critical,
    extensions,
    flipped,
    key_blob,
    key_fields,
    mpint,
    number,
    option,
    padded_rsa,
    principals,
    self_signed,
    sign_by,
    signature,
    signed_with,
    source,
    string,
    truncated,
    with_fields,
    with_now,
)


@attrs.frozen
class Mutation:
    """One certificate. ``reason`` None: we must accept it."""

    name: str
    build: Build
    reason: Reason | None = None
    user: str = "user-ed25519"
    """The key that belongs to it."""
    honours_force_command: bool = False


ROLES = option(b"roles@mezite", b"access,auditor")
TRAITS = option(b"traits@mezite", b'{"logins":["ubuntu"]}')

ACCEPTED = [
    Mutation("plain", with_fields()),
    Mutation("user key P-256", with_fields(user="user-p256"), user="user-p256"),
    Mutation("user key P-384", with_fields(user="user-p384"), user="user-p384"),
    Mutation("user key P-521", with_fields(user="user-p521"), user="user-p521"),
    Mutation("user key RSA 2048", with_fields(user="user-rsa2048"), user="user-rsa2048"),
    Mutation("CA P-256", lambda m: m.build(ca="ca-p256")),
    Mutation("CA P-384", lambda m: m.build(ca="ca-p384")),
    Mutation("CA P-521", lambda m: m.build(ca="ca-p521")),
    Mutation("CA RSA with SHA-512", lambda m: m.build(ca="ca-rsa2048")),
    Mutation("CA RSA with SHA-256", lambda m: m.build(ca="ca-rsa2048", algorithm=b"rsa-sha2-256")),
    Mutation("several logins", principals(b"postgres", b"LOGIN", b"www-data")),
    Mutation("no extensions", extensions()),
    Mutation(
        "all extensions",
        extensions(
            *(
                option(b"permit-" + name)
                for name in (b"X11-forwarding", b"agent-forwarding", b"port-forwarding", b"pty", b"user-rc")
            )
        ),
    ),
    Mutation("unknown extension", extensions(option(b"later@example.com", b"x"), option(b"permit-pty"))),
    Mutation("roles and traits", extensions(option(b"permit-pty"), ROLES, TRAITS)),
    Mutation("an access request", extensions(option(b"requests@mezite", b"id-1"), ROLES, TRAITS)),
    Mutation("a device", extensions(option(b"device@mezite", b"id-1"), ROLES, TRAITS)),
    Mutation("source address", source(b"127.0.0.0/8")),
    Mutation("one source host", source(b"127.0.0.1")),
    Mutation("several source blocks", source(b"2001:db8::/32,192.0.2.0/24,127.0.0.0/8")),
    Mutation("any source", source(b"0.0.0.0/0")),
    Mutation(
        "forced command that is honoured",
        critical(option(b"force-command", b"id")),
        honours_force_command=True,
    ),
    Mutation(
        "both critical options",
        critical(option(b"force-command", b"id"), option(b"source-address", b"127.0.0.0/8")),
        honours_force_command=True,
    ),
    Mutation("largest serial", with_fields(serial=number(FOREVER, 8))),
    Mutation("serial 0", with_fields(serial=number(0, 8))),
    Mutation("valid for ever", with_fields(after=number(0, 8), before=number(FOREVER, 8))),
    Mutation("nonce of 16 bytes", with_fields(nonce=string(bytes(16)))),
]

WINDOW = [
    Mutation("expired", with_now("before", -5), Reason.EXPIRED),
    Mutation("not yet valid", with_now("after", 600), Reason.NOT_YET_VALID),
    Mutation(
        "window reversed",
        lambda m: m.build(after=number(m.now + 10, 8), before=number(m.now - 10, 8)),
        Reason.MALFORMED,
    ),
    Mutation(
        "window empty", lambda m: m.build(after=number(m.now, 8), before=number(m.now, 8)), Reason.MALFORMED
    ),
    Mutation("never valid", with_fields(after=number(0, 8), before=number(0, 8)), Reason.MALFORMED),
]

PRINCIPALS = [
    Mutation("no principals", principals(), Reason.NO_PRINCIPALS),
    Mutation("another login", principals(b"somebody"), Reason.PRINCIPAL_MISMATCH),
    Mutation("login as prefix", principals(b"LOGINx"), Reason.PRINCIPAL_MISMATCH),
    Mutation("wildcard", principals(b"*"), Reason.PRINCIPAL_MISMATCH),
    Mutation("pattern", principals(b"LOGI?", b"LOGIN*"), Reason.PRINCIPAL_MISMATCH),
    Mutation("two logins in one string", principals(b"LOGIN,other"), Reason.PRINCIPAL_MISMATCH),
    Mutation("login with a space", principals(b"LOGIN "), Reason.PRINCIPAL_MISMATCH),
    Mutation("login with NUL", principals(b"LOGIN\x00"), Reason.MALFORMED),
    Mutation("login with newline", principals(b"LOGIN\n"), Reason.MALFORMED),
    Mutation("empty principal", principals(b"", b"LOGIN"), Reason.MALFORMED),
    Mutation("doubled principal", principals(b"LOGIN", b"LOGIN"), Reason.MALFORMED),
    Mutation(
        "principal cut off",
        lambda m: m.build(principals=string(number(99, 4) + m.login.encode())),
        Reason.MALFORMED,
    ),
    Mutation("257 principals", principals(b"LOGIN", *(b"u%d" % n for n in range(256))), Reason.MALFORMED),
    Mutation("principal not UTF-8", principals(b"LOGIN", b"\xff"), Reason.MALFORMED),
]

SIGNERS = [
    Mutation("CA of others", lambda m: m.build(ca="stranger-ed25519"), Reason.UNTRUSTED_SIGNER),
    Mutation("host CA", lambda m: m.build(ca="hostca-ed25519"), Reason.UNTRUSTED_SIGNER),
    Mutation("signed by its own key", self_signed, Reason.UNTRUSTED_SIGNER),
    Mutation("signer is a certificate", certified_ca, Reason.UNTRUSTED_SIGNER),
    Mutation(
        "CA key with trailing byte",
        lambda m: m.build(
            ca_key=string(key_blob(m.key("ca-ed25519")) + b"\0"),
            sign=lambda t: signature(m.key("ca-ed25519"), t),
        ),
        Reason.UNTRUSTED_SIGNER,
    ),
    Mutation(
        "CA key empty",
        with_fields(ca_key=string(b""), sign=lambda _: string(b"ssh-ed25519") + string(bytes(64))),
        Reason.UNTRUSTED_SIGNER,
    ),
    Mutation("CA RSA 1024, though trusted", lambda m: m.build(ca="ca-rsa1024"), Reason.UNTRUSTED_SIGNER),
    Mutation(
        "CA RSA with SHA-1", lambda m: m.build(ca="ca-rsa2048", algorithm=b"ssh-rsa"), Reason.BAD_SIGNATURE
    ),
    Mutation("signed by another key", signed_with(sign_by("stranger-ed25519")), Reason.BAD_SIGNATURE),
    Mutation(
        "signature over something else",
        signed_with(lambda m, t: signature(m.key("ca-ed25519"), t[:-1])),
        Reason.BAD_SIGNATURE,
    ),
    Mutation(
        "signature of zeros",
        signed_with(lambda m, t: string(b"ssh-ed25519") + string(bytes(64))),
        Reason.BAD_SIGNATURE,
    ),
    Mutation("signature of 63 bytes", signed_with(sign_by("ca-ed25519", cut=1)), Reason.BAD_SIGNATURE),
    Mutation("signature of 65 bytes", signed_with(sign_by("ca-ed25519", more=b"\0")), Reason.BAD_SIGNATURE),
    Mutation(
        "signature named otherwise",
        signed_with(sign_by("ca-ed25519", called=b"ssh-ed448")),
        Reason.BAD_SIGNATURE,
    ),
    Mutation(
        "signature named as RSA",
        signed_with(sign_by("ca-ed25519", called=b"rsa-sha2-512")),
        Reason.BAD_SIGNATURE,
    ),
    Mutation(
        "signature named as certificate",
        signed_with(sign_by("ca-ed25519", called=b"ssh-ed25519" + SUFFIX)),
        Reason.BAD_SIGNATURE,
    ),
    Mutation(
        "signature with trailing byte",
        signed_with(lambda m, t: signature(m.key("ca-ed25519"), t) + b"\0"),
        Reason.BAD_SIGNATURE,
    ),
    Mutation("signature empty", signed_with(lambda m, t: b""), Reason.BAD_SIGNATURE),
    Mutation(
        "RSA signature of the other hash",
        lambda m: m.build(
            ca="ca-rsa2048", sign=lambda t: string(b"rsa-sha2-256") + signature(m.key("ca-rsa2048"), t)[16:]
        ),
        Reason.BAD_SIGNATURE,
    ),
    Mutation(
        "ECDSA signature of another curve",
        lambda m: m.build(ca="ca-p256", sign=lambda t: signature(m.key("ca-p384"), t)),
        Reason.BAD_SIGNATURE,
    ),
    Mutation(
        "ECDSA signature of zeros",
        lambda m: m.build(
            ca="ca-p256", sign=lambda t: string(b"ecdsa-sha2-nistp256") + string(mpint(0) + mpint(0))
        ),
        Reason.BAD_SIGNATURE,
    ),
    Mutation("one bit flipped in the nonce", flipped(60), Reason.BAD_SIGNATURE),
]

OPTIONS = [
    Mutation(
        "unknown critical option",
        critical(option(b"later@example.com", b"x")),
        Reason.UNKNOWN_CRITICAL_OPTION,
    ),
    Mutation(
        "verify-required on a plain key", critical(option(b"verify-required")), Reason.UNKNOWN_CRITICAL_OPTION
    ),
    Mutation(
        "extension among critical options", critical(option(b"permit-pty")), Reason.UNKNOWN_CRITICAL_OPTION
    ),
    Mutation("another source address", source(b"192.0.2.0/24"), Reason.SOURCE_ADDRESS),
    Mutation("source address with a hole in the list", source(b"127.0.0.0/8,,"), Reason.SOURCE_ADDRESS),
    Mutation("source address of letters", source(b"localhost"), Reason.SOURCE_ADDRESS),
    Mutation("source prefix too long", source(b"127.0.0.0/33"), Reason.SOURCE_ADDRESS),
    Mutation("source prefix of letters", source(b"127.0.0.0/x"), Reason.SOURCE_ADDRESS),
    Mutation(
        "one bad source block beside a good one", source(b"127.0.0.0/8,300.0.0.0/8"), Reason.SOURCE_ADDRESS
    ),
    Mutation("source address with host bits", source(b"127.0.0.1/8"), Reason.SOURCE_ADDRESS),
    Mutation("source address negated", source(b"!192.0.2.1,127.0.0.0/8"), Reason.SOURCE_ADDRESS),
    Mutation("source address empty", source(b""), Reason.MALFORMED),
    Mutation(
        "source address not wrapped",
        critical(string(b"source-address") + string(b"127.0.0.0/8")),
        Reason.MALFORMED,
    ),
    Mutation(
        "source address with trailing byte",
        critical(string(b"source-address") + string(string(b"127.0.0.0/8") + b"\0")),
        Reason.MALFORMED,
    ),
    Mutation(
        "source address twice",
        critical(option(b"source-address", b"127.0.0.0/8"), option(b"source-address", b"127.0.0.0/8")),
        Reason.MALFORMED,
    ),
    Mutation(
        "critical options out of order",
        critical(option(b"source-address", b"127.0.0.0/8"), option(b"force-command", b"id")),
        Reason.MALFORMED,
        honours_force_command=True,
    ),
    Mutation(
        "forced command that nobody honours", critical(option(b"force-command", b"id")), Reason.FORCE_COMMAND
    ),
    Mutation(
        "forced command empty",
        critical(option(b"force-command", b"")),
        Reason.MALFORMED,
        honours_force_command=True,
    ),
    Mutation(
        "forced command with newline",
        critical(option(b"force-command", b"id\nid")),
        Reason.MALFORMED,
        honours_force_command=True,
    ),
    Mutation(
        "forced command twice",
        critical(option(b"force-command", b"id"), option(b"force-command", b"ls")),
        Reason.MALFORMED,
        honours_force_command=True,
    ),
    Mutation("option name cut off", with_fields(critical=string(number(40, 4) + b"force")), Reason.MALFORMED),
    Mutation("option without data", with_fields(critical=string(string(b"force-command"))), Reason.MALFORMED),
    Mutation("option without name", critical(option(b"", b"x")), Reason.MALFORMED),
    Mutation("permit-pty with a value", extensions(option(b"permit-pty", b"x")), Reason.MALFORMED),
    Mutation(
        "extensions out of order",
        extensions(option(b"permit-user-rc"), option(b"permit-pty")),
        Reason.MALFORMED,
    ),
    Mutation("extension twice", extensions(option(b"permit-pty"), option(b"permit-pty")), Reason.MALFORMED),
    Mutation(
        "roles with a space", extensions(option(b"roles@mezite", b"access, auditor")), Reason.BAD_IDENTITY
    ),
    Mutation(
        "roles twice the same", extensions(option(b"roles@mezite", b"access,access")), Reason.BAD_IDENTITY
    ),
    Mutation("roles not wrapped", extensions(string(b"roles@mezite") + string(b"access")), Reason.MALFORMED),
    Mutation("traits not JSON", extensions(option(b"traits@mezite", b"logins=ubuntu")), Reason.BAD_IDENTITY),
    Mutation(
        "traits not canonical", extensions(option(b"traits@mezite", b'{"a": ["b"]}')), Reason.BAD_IDENTITY
    ),
    Mutation("no access request", extensions(option(b"requests@mezite", b"")), Reason.MALFORMED),
    Mutation("requests not in order", extensions(option(b"requests@mezite", b"b,a")), Reason.BAD_IDENTITY),
    Mutation("a request twice", extensions(option(b"requests@mezite", b"a,a")), Reason.BAD_IDENTITY),
    Mutation("a device with a path", extensions(option(b"device@mezite", b"../x")), Reason.BAD_IDENTITY),
    Mutation("two devices", extensions(option(b"device@mezite", b"a,b")), Reason.BAD_IDENTITY),
    Mutation("traits empty", extensions(option(b"traits@mezite", b"")), Reason.MALFORMED),
]

FORM = [
    Mutation("host certificate", with_fields(kind=number(2, 4)), Reason.WRONG_TYPE),
    Mutation("type 0", with_fields(kind=number(0, 4)), Reason.WRONG_TYPE),
    Mutation("type 3", with_fields(kind=number(3, 4)), Reason.WRONG_TYPE),
    Mutation("key id no user name", with_fields(key_id=string(b"a b")), Reason.BAD_IDENTITY),
    Mutation("key id empty", with_fields(key_id=string(b"")), Reason.BAD_IDENTITY),
    Mutation("key id with newline", with_fields(key_id=string(b"a\nb")), Reason.MALFORMED),
    Mutation("key id with NUL", with_fields(key_id=string(b"a\0b")), Reason.MALFORMED),
    Mutation("reserved field used", with_fields(reserved=string(b"x")), Reason.MALFORMED),
    Mutation("trailing byte", with_fields(trailer=b"\0"), Reason.MALFORMED),
    Mutation("trailing certificate", lambda m: m.build() + m.build(), Reason.MALFORMED),
    Mutation("cut by one byte", truncated(1), Reason.MALFORMED),
    Mutation("cut in the middle", truncated(150), Reason.MALFORMED),
    Mutation("no nonce", with_fields(nonce=string(b"")), Reason.MALFORMED),
    Mutation("nonce of 65 bytes", with_fields(nonce=string(bytes(65))), Reason.MALFORMED),
    Mutation("larger than any certificate", with_fields(nonce=string(bytes(20_000))), Reason.TOO_LARGE),
    Mutation("length beyond the end", with_fields(key_id=number(2**32 - 1, 4) + b"alice"), Reason.MALFORMED),
    Mutation("type of another kind of key", with_fields(type=string(b"ssh-rsa" + SUFFIX)), Reason.MALFORMED),
    Mutation(
        "type of version 00", with_fields(type=string(b"ssh-ed25519-cert-v00@openssh.com")), Reason.MALFORMED
    ),
    Mutation(
        "type of an unknown key", with_fields(type=string(b"ssh-ed448" + SUFFIX)), Reason.UNSUPPORTED_KEY
    ),
    Mutation(
        "type of a security key", with_fields(type=string(b"sk-ssh-ed25519" + SUFFIX)), Reason.UNSUPPORTED_KEY
    ),
    Mutation("type of DSA", with_fields(type=string(b"ssh-dss" + SUFFIX)), Reason.UNSUPPORTED_KEY),
    Mutation("a plain key", lambda m: key_blob(m.key("user-ed25519")), Reason.MALFORMED),
    Mutation("nothing", lambda m: b"", Reason.MALFORMED),
    Mutation("Ed25519 key of 31 bytes", with_fields(key=string(bytes(31))), Reason.MALFORMED),
    Mutation("P-256 point compressed", compressed_point, Reason.MALFORMED, user="user-p256"),
    Mutation(
        "P-256 point off the curve",
        lambda m: m.build(user="user-p256", key=string(b"nistp256") + string(b"\x04" + bytes(64))),
        Reason.UNSUPPORTED_KEY,
        user="user-p256",
    ),
    Mutation(
        "P-256 point with another curve's name",
        lambda m: m.build(
            user="user-p256", key=string(b"nistp384") + key_fields(m.key("user-p256").public_key())[1][12:]
        ),
        Reason.MALFORMED,
        user="user-p256",
    ),
    Mutation(
        "user key RSA 1024", with_fields(user="user-rsa1024"), Reason.UNSUPPORTED_KEY, user="user-rsa1024"
    ),
    Mutation("user key RSA with padding", padded_rsa, Reason.MALFORMED, user="user-rsa2048"),
    Mutation(
        "user key RSA with exponent 1",
        lambda m: m.build(
            user="user-rsa2048", key=mpint(1) + mpint(m.key("user-rsa2048").public_key().public_numbers().n)
        ),
        Reason.UNSUPPORTED_KEY,
        user="user-rsa2048",
    ),
    Mutation(
        "user key RSA of 100,000 bits",
        with_fields(user="user-rsa2048", key=mpint(65537) + mpint(2**100_000 - 1)),
        Reason.UNSUPPORTED_KEY,
        user="user-rsa2048",
    ),
]

MUTATIONS = [*ACCEPTED, *WINDOW, *PRINCIPALS, *SIGNERS, *OPTIONS, *FORM]
