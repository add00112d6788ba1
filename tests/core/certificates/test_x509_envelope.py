# SPDX-License-Identifier: Apache-2.0
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa

from mezite.core.certificates.x509_envelope import MalformedEnvelopeError, is_signed_by, parse_envelope
from tests.core.certificates.x509_matrix import build, ca, key

DER = build()


def test_an_independent_reader_reads_the_same():
    envelope = parse_envelope(DER)
    theirs = x509.load_der_x509_certificate(DER)
    assert envelope.signed_bytes == theirs.tbs_certificate_bytes
    assert envelope.signature == theirs.signature
    assert envelope.serial == theirs.serial_number == 7
    assert envelope.issuer == theirs.issuer.public_bytes() == ca().subject.public_bytes()


@pytest.mark.parametrize("signer", ["ca-p256", "ca-ed25519"])
def test_signatures(signer):
    envelope = parse_envelope(build(signer=signer))
    for other in ("ca-p256", "ca-ed25519", "x-p256", "x-ed25519"):
        assert is_signed_by(envelope, key(other).public_key()) is (other == signer)
    assert not is_signed_by(envelope, rsa.generate_private_key(65537, 2048).public_key())


def element(tag: int, content: bytes) -> bytes:
    if len(content) < 128:
        return bytes([tag, len(content)]) + content
    return bytes([tag, 0x82]) + len(content).to_bytes(2, "big") + content


ALGORITHM = bytes.fromhex("300a06082a8648ce3d040302")
NAME = element(0x30, b"")


def certificate(
    *, version=b"\xa0\x03\x02\x01\x02", serial=b"\x02\x01\x07", inside=ALGORITHM, bits=b"\x00x", rest=b""
):
    return element(
        0x30, element(0x30, version + serial + inside + NAME) + ALGORITHM + element(0x03, bits) + rest
    )


def test_the_smallest_envelope():
    envelope = parse_envelope(certificate())
    assert (envelope.serial, envelope.issuer, envelope.signature) == (7, NAME, b"x")
    assert envelope.algorithm == ALGORITHM


@pytest.mark.parametrize(
    ("der", "why"),
    [
        (b"", "no element"),
        (b"\x30", "no element"),
        (b"\x31\x00", "no element with tag 0x30"),
        (b"\x30\x05abc", "longer than what is left"),
        (b"\x30\x81", "length at byte 1 is not in its shortest form"),
        (b"\x30\x81\x7f" + bytes(127), "shortest form"),
        # The shortest that need one byte for the length, and three: what is inside of them is looked at.
        (b"\x30\x81\x80" + bytes(128), "no element with tag 0x30 at byte 0"),
        (b"\x30\x83\x01\x00\x00" + bytes(65536), "no element with tag 0x30 at byte 0"),
        (b"\x30\x84\x01\x00\x00\x00", "shortest form"),
        (b"\x30\x80abc", "shortest form"),
        (b"\x30\x81\x05hello", "shortest form"),
        (b"\x30\x82\x00\x85" + bytes(0x85), "shortest form"),
        (b"\x30\x84\x00\x00\x01\x00" + bytes(256), "shortest form"),
        (certificate() + b"\0", "1 bytes left over"),
        (certificate(rest=b"\x05\x00"), "2 bytes left over"),
        (certificate(bits=b""), "not whole bytes"),
        (certificate(bits=b"\x01x"), "not whole bytes"),
        (certificate(version=b""), "not of version 3"),
        (certificate(version=b"\xa0\x03\x02\x01\x01"), "not of version 3"),
        (certificate(serial=b"\x02\x00"), "not positive"),
        (certificate(serial=b"\x02\x01\x00"), "not positive"),
        (certificate(serial=b"\x02\x01\x80"), "not positive"),
        (certificate(serial=b"\x02\x15" + b"\x01" * 21), "not positive"),
        (certificate(inside=bytes.fromhex("300506032b6570")), "^two algorithms are named"),
    ],
)
def test_other_der_is_refused(der, why):
    with pytest.raises(MalformedEnvelopeError, match=why):
        parse_envelope(der)


@pytest.mark.parametrize("end", range(0, len(DER), 7))
def test_no_part_of_a_certificate_is_one(end):
    with pytest.raises(MalformedEnvelopeError):
        parse_envelope(DER[:end])
