# SPDX-License-Identifier: Apache-2.0
"""Clock and randomness of a hub."""

import re
import time

from mezite.services.sources import Sources, system_sources
from tests.services.world import START, Clock, fake_sources


def test_ids_are_time_ordered_uuids():
    clock = Clock()
    sources = fake_sources(clock)
    first = sources.new_id()
    clock.now += 1
    second = sources.new_id()
    assert first < second
    assert int(first.replace("-", "")[:12], 16) == START
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", first)


def test_secrets_are_256_bits_of_hex():
    """Threat E11."""
    sources = fake_sources(Clock())
    secrets = {sources.new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert all(re.fullmatch(r"[0-9a-f]{64}", secret) for secret in secrets)


def test_serials_are_positive_and_fit_63_bits():
    sources = fake_sources(Clock())
    assert all(0 < sources.new_serial() < 2**63 for _ in range(100))
    for byte, serial in ((b"\0", 1), (b"\xff", 2**63 - 1)):
        assert Sources(now=int, token_bytes=lambda count, byte=byte: byte * count).new_serial() == serial


def test_the_machine_has_a_clock_and_real_randomness():
    sources = system_sources()
    assert abs(sources.now() - time.time() * 1000) < 5000
    assert sources.token_bytes(32) != sources.token_bytes(32)
    assert len(sources.token_bytes(7)) == 7
