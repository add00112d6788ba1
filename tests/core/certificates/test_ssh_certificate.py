# SPDX-License-Identifier: Apache-2.0
import pytest
from cryptography.hazmat.primitives.serialization import load_ssh_public_identity
from hypothesis import given

from mezite.core.certificates.keys import InvalidKeyError, generate_ed25519
from mezite.core.certificates.ssh_certificate import (
    MAX_CERTIFICATE_BYTES,
    CertificateKind,
    encode_unsigned,
    parse_ssh_certificate,
)
from mezite.core.certificates.ssh_issue import issue_user_certificate
from mezite.core.certificates.ssh_public_key import authorized_key_line, public_key_blob
from mezite.core.certificates.ssh_wire import MalformedWireError, encode_string
from mezite.testing.strategies.certificates import user_certificate_specs
from tests.core.certificates.ssh_material import Material, option, string
from tests.core.certificates.ssh_matrix import MUTATIONS

MATERIAL = Material("ubuntu", 1_800_000_000)
CA = generate_ed25519()
KEY = generate_ed25519()


def test_the_fields():
    certificate = parse_ssh_certificate(MATERIAL.build(critical=string(option(b"force-command", b"id"))))
    assert certificate.kind == CertificateKind.USER
    assert certificate.serial == 1
    assert certificate.key_id == "alice"
    assert certificate.principals == ("ubuntu",)
    assert (certificate.valid_after, certificate.valid_before) == (1_799_999_700, 1_800_003_600)
    assert certificate.critical_options == {"force-command": encode_string(b"id")}
    assert certificate.extensions == {"permit-pty": b""}
    assert certificate.nonce == bytes(range(32))
    assert public_key_blob(certificate.public_key) in (
        public_key_blob(MATERIAL.key("user-ed25519").public_key()),
    )


@given(user_certificate_specs())
def test_an_independent_reader_reads_the_same(spec):
    """The cryptography library parses, and checks the signature of, what we write."""
    blob = issue_user_certificate(CA, KEY.public_key(), spec)
    theirs = load_ssh_public_identity(authorized_key_line(blob).encode())
    theirs.verify_cert_signature()
    ours = parse_ssh_certificate(blob)
    assert theirs.nonce == ours.nonce
    assert theirs.serial == ours.serial
    assert theirs.key_id == ours.key_id.encode()
    assert theirs.valid_principals == [name.encode() for name in ours.principals]
    assert (theirs.valid_after, theirs.valid_before) == (ours.valid_after, ours.valid_before)
    assert set(theirs.extensions) == {name.encode() for name in ours.extensions}
    assert encode_unsigned(ours) + encode_string(ours.signature) == blob
    assert ours.signed_bytes == encode_unsigned(ours)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_what_parses_is_in_the_one_spelling(mutation):
    blob = mutation.build(MATERIAL)
    try:
        certificate = parse_ssh_certificate(blob)
    except (MalformedWireError, InvalidKeyError):
        return
    assert encode_unsigned(certificate) + encode_string(certificate.signature) == blob


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"reserved": string(b"x")}, "^the reserved field is not empty$"),
        ({"nonce": string(bytes(15))}, "^the nonce has 15 bytes$"),
        ({"principals": string(string(b""))}, "^a principal is empty$"),
        ({"principals": string(string(b"a") * 2)}, "^a principal is listed twice$"),
        ({"principals": string(string(b"a") * 257)}, "^more than 256 principals$"),
        (
            {"extensions": string(option(b"b") + option(b"a"))},
            "^option names are empty, doubled or not in order$",
        ),
        (
            {"extensions": string(option(b"a") + option(b"a"))},
            "^option names are empty, doubled or not in order$",
        ),
        ({"extensions": string(option(b""))}, "^option names are empty, doubled or not in order$"),
    ],
)
def test_what_openssh_never_writes_is_named(fields, why):
    with pytest.raises(MalformedWireError, match=why):
        parse_ssh_certificate(MATERIAL.build(**fields))


def test_options_are_in_the_order_of_their_bytes():
    """Capitals come before small letters, as in what ssh-keygen writes."""
    blob = MATERIAL.build(extensions=string(option(b"A@b") + option(b"Z@b") + option(b"a@b")))
    assert list(parse_ssh_certificate(blob).extensions) == ["A@b", "Z@b", "a@b"]


def test_size_is_looked_at_first():
    with pytest.raises(MalformedWireError, match="16385 bytes are more"):
        parse_ssh_certificate(bytes(MAX_CERTIFICATE_BYTES + 1))


def test_a_plain_key_is_no_certificate():
    with pytest.raises(MalformedWireError, match="'ssh-ed25519' is not a type of certificate"):
        parse_ssh_certificate(public_key_blob(KEY.public_key()))
