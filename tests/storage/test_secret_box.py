# SPDX-License-Identifier: Apache-2.0
import itertools

import pytest

from mezite.core.sealing import SealedSecretError
from mezite.storage.secret_box import SecretBox

SECRET = b"twenty bytes of this"


def box(passphrase=b"open sesame", start=0):
    numbers = itertools.count(start)
    return SecretBox(passphrase, token_bytes=lambda count: bytes([next(numbers)]) * count)


async def test_sealed_and_opened_by_any_hub_with_the_passphrase():
    sealed = await box().seal(SECRET, context="totp:alice")
    assert SECRET.hex().encode() not in sealed
    assert await box(start=100).open(sealed, context="totp:alice") == SECRET


async def test_without_a_passphrase_it_is_stored_as_it_is_and_stays_readable():
    stored = await box(None).seal(SECRET, context="x")
    assert SECRET.hex().encode() in stored
    assert await box(None).open(stored, context="x") == SECRET
    assert await box().open(stored, context="x") == SECRET


async def test_what_does_not_open():
    sealed = await box().seal(SECRET, context="totp:alice")
    for wrong, context in ((box(b"another"), "totp:alice"), (box(), "totp:bob"), (box(None), "totp:alice")):
        with pytest.raises(SealedSecretError):
            await wrong.open(sealed, context=context)
    for damaged in (b"", b"\xff", sealed[:-4]):
        with pytest.raises(SealedSecretError):
            await box().open(damaged, context="totp:alice")
