# SPDX-License-Identifier: Apache-2.0
import base64
import subprocess

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from mezite.core.certificates.keys import InvalidKeyError, generate_ed25519, generate_p256
from mezite.core.certificates.ssh_public_key import (
    MAX_LINE,
    authorized_key_line,
    parse_authorized_key_line,
    parse_public_key_blob,
    public_key_blob,
    sign,
    signature_is_valid,
    ssh_fingerprint,
)
from mezite.core.certificates.ssh_wire import MalformedWireError, encode_mpint, encode_string
from tests.core.certificates.ssh_material import signature

ED25519 = generate_ed25519()
P256 = generate_p256()
P384 = ec.generate_private_key(ec.SECP384R1())
P521 = ec.generate_private_key(ec.SECP521R1())
RSA = rsa.generate_private_key(65537, 2048)
ALL = [ED25519, P256, P384, P521, RSA]
IDS = ["ed25519", "p256", "p384", "p521", "rsa"]


@pytest.mark.parametrize("key", ALL, ids=IDS)
def test_blobs_are_those_of_openssh(key):
    """The independent writer is the cryptography library's."""
    blob = public_key_blob(key.public_key())
    line = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    assert authorized_key_line(blob) == line.decode()
    assert public_key_blob(parse_public_key_blob(blob)) == blob
    assert parse_authorized_key_line(f"{line.decode()} alice@example.com\n") == (
        line.decode().split()[0],
        blob,
    )


def test_lines_with_a_comment_and_fingerprints():
    blob = base64.b64decode("AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f")
    assert authorized_key_line(blob, "note") == f"ssh-ed25519 {base64.b64encode(blob).decode()} note"
    assert ssh_fingerprint(blob) == "SHA256:ZkAslGjFiUHdGf/WUL8rQvkib4PTvQatUV0OUQSncCA"


@pytest.mark.e2e
@pytest.mark.parametrize("key", ALL, ids=IDS)
def test_ssh_keygen_says_the_same_fingerprint(key, tmp_path):
    blob = public_key_blob(key.public_key())
    (tmp_path / "key.pub").write_text(authorized_key_line(blob))
    shown = subprocess.run(
        ["ssh-keygen", "-l", "-f", tmp_path / "key.pub"], capture_output=True, text=True, check=True
    )
    assert shown.stdout.split()[1] == ssh_fingerprint(blob)


def test_unsupported_kinds_have_no_blob():
    with pytest.raises(InvalidKeyError):
        public_key_blob(ec.generate_private_key(ec.SECP256K1()).public_key())


def blob_of(*parts: bytes) -> bytes:
    return b"".join(encode_string(part) for part in parts)


P256_TYPE = b"ecdsa-sha2-nistp256"
POINT = P256.public_key().public_bytes(
    serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint
)
COMPRESSED = b"\x02" + POINT[1:33]


@pytest.mark.parametrize(
    ("blob", "error", "why"),
    [
        (b"", MalformedWireError, "4 bytes announced, 0 left"),
        (blob_of(b"ssh-ed25519", bytes(31)), MalformedWireError, "an Ed25519 key has 32 bytes, not 31"),
        (blob_of(b"ssh-ed25519", bytes(33)), MalformedWireError, "an Ed25519 key has 32 bytes, not 33"),
        (blob_of(b"ssh-ed25519", bytes(32)) + b"\0", MalformedWireError, "1 bytes left over"),
        (blob_of(b"ssh-dss", b"x"), InvalidKeyError, "keys of type 'ssh-dss'"),
        (blob_of(b"sk-ssh-ed25519@openssh.com", bytes(32), b"ssh:"), InvalidKeyError, "keys of type 'sk-ssh"),
        (blob_of(b"nistp256", b"nistp256", POINT), InvalidKeyError, "keys of type 'nistp256'"),
        (blob_of(b"ecdsa-sha2-nistp224", b"nistp224", POINT), InvalidKeyError, "keys of type 'ecdsa"),
        (blob_of(P256_TYPE, b"nistp384", POINT), MalformedWireError, "the curve is not the one of the key type$"),
        (blob_of(P256_TYPE, b"nistp256", COMPRESSED), MalformedWireError, "the point is not in uncompressed form$"),
        (blob_of(P256_TYPE, b"nistp256", POINT[:-1]), InvalidKeyError, "the point is not on its curve$"),
        (blob_of(P256_TYPE, b"nistp256", b"\x04" + bytes(64)), InvalidKeyError, "the point is not on its curve$"),
        (blob_of(b"ssh-ed25519-cert-v01@openssh.com", bytes(32)), InvalidKeyError, "keys of type 'ssh-ed25519-c"),
        (encode_string(b"ssh-rsa") + encode_mpint(3) + encode_mpint(2**1023 + 1), InvalidKeyError, "an RSA key of"),
        (encode_string(b"ssh-rsa") + encode_mpint(65537), MalformedWireError, "4 bytes announced, 0 left"),
    ],
)  # fmt: skip
def test_other_blobs_are_refused_a9_a10(blob, error, why):
    with pytest.raises(error, match=f"^{why}"):
        parse_public_key_blob(blob)


@pytest.mark.parametrize("key", ALL[:4], ids=IDS[:4])
def test_signatures_verify_with_their_own_key_only(key):
    made = sign(key, b"message")
    for other in ALL:
        assert signature_is_valid(other.public_key(), made, b"message") is (other is key)
    assert not signature_is_valid(key.public_key(), made, b"massage")


@pytest.mark.parametrize(
    ("algorithm", "valid"), [(b"rsa-sha2-256", True), (b"rsa-sha2-512", True), (b"ssh-rsa", False)]
)
def test_rsa_signs_with_sha2_only(algorithm, valid):
    made = signature(RSA, b"message", algorithm)
    assert signature_is_valid(RSA.public_key(), made, b"message") is valid


def test_an_rsa_signature_has_the_length_of_its_key():
    made = signature(RSA, b"message")
    body = made[4 + 12 + 4 :]
    for wrong in (body[:-1], b"\0" + body):
        assert not signature_is_valid(RSA.public_key(), blob_of(b"rsa-sha2-512", wrong), b"message")


@pytest.mark.parametrize(
    "name", [b"ecdsa-sha2-nistp384", b"ecdsa-sha2-nistp192", b"nistp256", b"ssh-ed25519"]
)
def test_ecdsa_signs_with_the_algorithm_of_its_curve(name):
    body = sign(P256, b"message")[4 + 19 + 4 :]
    assert signature_is_valid(P256.public_key(), blob_of(b"ecdsa-sha2-nistp256", body), b"message")
    assert not signature_is_valid(P256.public_key(), blob_of(name, body), b"message")


@pytest.mark.parametrize(
    "blob", [b"", blob_of(b"ssh-ed25519"), sign(ED25519, b"x") + b"\0", blob_of(b"\xff", b"")]
)
def test_what_is_no_signature_is_malformed(blob):
    with pytest.raises(MalformedWireError):
        signature_is_valid(ED25519.public_key(), blob, b"x")


@pytest.mark.parametrize(
    "body", [b"", encode_mpint(5), encode_mpint(5) + encode_mpint(0), encode_mpint(5) * 3]
)
def test_an_ecdsa_signature_is_two_positive_numbers(body):
    with pytest.raises(MalformedWireError):
        signature_is_valid(P256.public_key(), blob_of(b"ecdsa-sha2-nistp256", body), b"x")


LINE = authorized_key_line(public_key_blob(ED25519.public_key()))


def test_a_line_of_the_largest_size_is_read():
    assert parse_authorized_key_line(f"{LINE} ".ljust(MAX_LINE, "x"))[0] == "ssh-ed25519"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("", "^the key is not one line of the form: TYPE BASE64 COMMENT$"),
        ("ssh-ed25519", "not one line"),
        (f"{LINE}\n{LINE}", "not one line"),
        (f"{LINE}!", "^the key line is damaged"),
        (LINE.replace("AAAAC3", "AAAA-C3"), "damaged"),
        ("ssh-ed25519 AAAA", "damaged"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE", "damaged"),
        (LINE.replace("ssh-ed25519 ", "ssh-rsa "), "says 'ssh-rsa' but holds a key of type 'ssh-ed25519'"),
        (f"{LINE} ".ljust(MAX_LINE + 1, "x"), "^a key line of 24577 characters is too long$"),
    ],
)
def test_other_lines_are_refused(line, why):
    with pytest.raises(InvalidKeyError, match=why):
        parse_authorized_key_line(line)
