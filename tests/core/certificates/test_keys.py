# SPDX-License-Identifier: Apache-2.0
import hashlib

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, rsa

from mezite.core.certificates import keys

RSA = rsa.generate_private_key(65537, 2048)


def pem(key):
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.mark.parametrize("generate", [keys.generate_ed25519, keys.generate_p256])
@pytest.mark.parametrize("passphrase", [None, b"secret"])
def test_private_keys_survive_storage(generate, passphrase):
    key = generate()
    text = keys.private_key_pem(key, passphrase)
    assert (b"ENCRYPTED" in text) == (passphrase is not None)
    again = keys.load_private_key(text, passphrase)
    assert keys.spki_sha256(again.public_key()) == keys.spki_sha256(key.public_key())


def test_public_keys_survive_storage():
    for key in (keys.generate_ed25519(), keys.generate_p256(), RSA):
        again = keys.load_public_key(keys.public_key_pem(key.public_key()))
        assert keys.spki_sha256(again) == keys.spki_sha256(key.public_key())


def test_openssh_private_keys_are_read():
    key = keys.generate_ed25519()
    text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    assert keys.spki_sha256(keys.load_private_key(text).public_key()) == keys.spki_sha256(key.public_key())


def test_openssh_private_keys_are_read_with_their_passphrase():
    key = keys.generate_ed25519()
    text = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.BestAvailableEncryption(b"secret"),
    )
    again = keys.load_private_key(text, b"secret")
    assert keys.spki_sha256(again.public_key()) == keys.spki_sha256(key.public_key())
    with pytest.raises(keys.InvalidKeyError, match="the passphrase is wrong"):
        keys.load_private_key(text, b"wrong")
    with pytest.raises(keys.InvalidKeyError, match="cannot be opened"):
        keys.load_private_key(text)


def test_a_pem_of_the_largest_size_is_still_read_a9():
    key = keys.generate_p256()
    for text, load in (
        (keys.private_key_pem(key), keys.load_private_key),
        (keys.public_key_pem(key.public_key()), keys.load_public_key),
    ):
        largest = text.ljust(keys.MAX_PEM_BYTES, b"\n")
        load(largest)
        with pytest.raises(keys.InvalidKeyError, match="65537 bytes is larger than any key"):
            load(largest + b"\n")


def test_the_pin_is_the_hash_of_the_spki():
    key = keys.generate_p256().public_key()
    der = key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert keys.spki_sha256(key) == hashlib.sha256(der).hexdigest()


ENCRYPTED = keys.private_key_pem(keys.generate_ed25519(), b"secret")


@pytest.mark.parametrize(
    ("text", "passphrase", "why"),
    [
        (b"", None, "cannot be read: it is damaged$"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", None, "it is damaged"),
        (
            b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n",
            None,
            "it is damaged",
        ),
        (ENCRYPTED, None, "cannot be opened: .*password"),
        (ENCRYPTED, b"wrong", "damaged or the passphrase is wrong"),
        (pem(keys.generate_ed25519()), b"needless", "cannot be opened: .*password"),
        (pem(RSA), None, "neither Ed25519 nor on a NIST curve"),
        (pem(ed448.Ed448PrivateKey.generate()), None, "neither Ed25519 nor on a NIST curve"),
        (pem(ec.generate_private_key(ec.SECP256K1())), None, "curve secp256k1 is not supported"),
        (b"x" * 100_000, None, "larger than any key"),
    ],
)
def test_other_private_keys_are_refused(text, passphrase, why):
    with pytest.raises(keys.InvalidKeyError, match=why):
        keys.load_private_key(text, passphrase)


def public_pem(key):
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"", "cannot be read"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "cannot be read"),
        (public_pem(ed448.Ed448PrivateKey.generate().public_key()), "neither Ed25519, nor on a NIST curve"),
        (public_pem(dsa.generate_private_key(1024).public_key()), "neither Ed25519, nor on a NIST curve"),
        (
            public_pem(ec.generate_private_key(ec.SECP256K1()).public_key()),
            "curve secp256k1 is not supported",
        ),
        (public_pem(rsa.generate_private_key(65537, 1024).public_key()), "1024 bits is refused"),
        (b"x" * 100_000, "larger than any key"),
    ],
)
def test_other_public_keys_are_refused(text, why):
    with pytest.raises(keys.InvalidKeyError, match=why):
        keys.load_public_key(text)


@pytest.mark.parametrize(
    ("modulus", "exponent", "why"),
    [
        (2**2046 + 1, 65537, "2047 bits"),
        (2**8192 + 1, 65537, "8193 bits"),
        (2**100_000 + 1, 65537, "100001 bits"),
        (2**2047, 65537, "impossible"),
        (2**2047 + 1, 1, "impossible"),
        (2**2047 + 1, 65536, "impossible"),
        (2**2047 + 1, 2**32 + 1, "impossible"),
    ],
    ids=["2047", "8193", "100001", "even", "exponent 1", "exponent even", "exponent long"],
)
def test_rsa_keys_that_are_weak_or_expensive_are_refused_a9(modulus, exponent, why):
    with pytest.raises(keys.InvalidKeyError, match=why):
        keys.check_rsa_numbers(modulus, exponent)


def test_rsa_bounds_are_inclusive():
    keys.check_rsa_numbers(2**2047 + 1, 3)
    keys.check_rsa_numbers(2**8191 + 1, 2**32 - 1)
