# SPDX-License-Identifier: Apache-2.0
import itertools

import pytest

from mezite.storage.secret_box import SealedSecretError, SecretBox

SECRET = b"twenty bytes of this"


def box(passphrase=b"open sesame", start=0):
    numbers = itertools.count(start)
    return SecretBox(passphrase, token_bytes=lambda count: bytes([next(numbers)]) * count)


async def test_sealed_and_opened_by_any_hub_with_the_passphrase():
    sealed = await box().seal(SECRET, context="totp:alice")
    assert SECRET not in sealed
    assert sealed[:1] == b"\x01"
    other = box(start=100)
    for _ in range(2):
        assert await other.open(sealed, context="totp:alice") == SECRET


async def test_two_seals_differ():
    one = box()
    assert await one.seal(SECRET, context="x") != await one.seal(SECRET, context="x")


async def test_without_a_passphrase_it_is_stored_as_it_is_and_stays_readable():
    stored = await box(None).seal(SECRET, context="x")
    assert stored == b"\x00" + SECRET
    assert await box(None).open(stored, context="x") == SECRET
    assert await box().open(stored, context="x") == SECRET


@pytest.mark.parametrize("damage", [b"", b"\x02", b"\x01", b"\x01" + bytes(27), b"\x01" + bytes(60)])
async def test_damaged_values(damage):
    with pytest.raises(SealedSecretError):
        await box().open(damage, context="x")


async def test_the_wrong_passphrase_and_the_wrong_place():
    sealed = await box().seal(SECRET, context="totp:alice")
    with pytest.raises(SealedSecretError, match="is ca_key_passphrase right"):
        await box(b"another").open(sealed, context="totp:alice")
    with pytest.raises(SealedSecretError, match="is ca_key_passphrase right"):
        await box().open(sealed, context="totp:bob")
    with pytest.raises(SealedSecretError, match="set ca_key_passphrase"):
        await box(None).open(sealed, context="totp:alice")
    flipped = sealed[:-1] + bytes([sealed[-1] ^ 1])
    with pytest.raises(SealedSecretError):
        await box().open(flipped, context="totp:alice")
