# SPDX-License-Identifier: Apache-2.0
"""Hashing in threads, and the decoy."""

import argon2
import pytest
import trio

from mezite.storage.password_hasher import PasswordHasher


@pytest.fixture
def hasher():
    return PasswordHasher(hasher=argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


async def test_a_password_fits_its_own_hash_only(hasher):
    stored = await hasher.hash("correct horse")
    assert stored.startswith("$argon2id$")
    assert stored != await hasher.hash("correct horse"), "salted"
    assert await hasher.verify(stored, "correct horse")
    assert not await hasher.verify(stored, "correct horsf")
    assert not await hasher.verify(stored, "")


async def test_nothing_fits_no_hash(hasher):
    """Threat E17: the decoy is checked in its place, and its own password does not open it."""
    assert not await hasher.verify(None, "decoy")
    assert not await hasher.verify(None, "anything")


@pytest.mark.parametrize("stored", ["", "x", "$argon2id$v=19$m=8,t=1,p=1$AAAA", "$2b$12$abc"])
async def test_a_damaged_hash_fits_nothing(hasher, stored):
    assert not await hasher.verify(stored, "decoy")


async def test_the_loop_goes_on_while_hashes_are_made(hasher):
    """Threats P7 and P9: hashing keeps neither the loop nor Trio's default threads."""
    default = trio.to_thread.current_default_thread_limiter()
    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(hasher.hash, "password")
        await trio.lowlevel.checkpoint()
        assert default.borrowed_tokens == 0


def test_the_decoy_costs_what_a_password_costs(hasher):
    """Threat E17."""
    for own in (PasswordHasher(), hasher):
        made = argon2.extract_parameters(own._hasher.hash("password"))
        assert argon2.extract_parameters(own._decoy) == made
        assert own._hasher.verify(own._decoy, "decoy")


def test_the_default_is_a_slow_one():
    stored = PasswordHasher()._decoy
    parameters = argon2.extract_parameters(stored)
    assert (parameters.memory_cost, parameters.time_cost) >= (65536, 3)
