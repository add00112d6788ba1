# SPDX-License-Identifier: Apache-2.0
"""When a hub gets itself new certificates (threats F6, P14, P28)."""

import attrs
import pytest
import trio

from mezite.hub.hub_identity import HubTls, renew_certificates
from tests.services.conftest import database_path, world, world_template
from tests.services.world import HOUR, MINUTE, START, Clock, fake_sources

__all__ = ["database_path", "world", "world_template"]


@pytest.fixture
def tls(world):
    return HubTls(authorities=world.authorities, hub_id="hub-1", names=("localhost",), addresses=())


@pytest.mark.parametrize(
    ("later", "due"),
    [
        (0, False),
        (8 * HOUR, False),
        (8 * HOUR + 1, True),
        (30 * HOUR, True),
        (-5 * MINUTE, False),
        (-5 * MINUTE - 1, True),
    ],
)
async def test_the_wall_clock_decides(tls, later, due):
    assert tls.is_due(START + later) is due


@attrs.define
class Renewals:
    """Counts; fails as long as it is told to."""

    clock: Clock
    failures: int = 0
    renewed: int = 0
    tried: int = 0

    def is_due(self, now: int) -> bool:
        return now > START

    def renew(self) -> None:
        self.tried += 1
        if self.tried <= self.failures:
            raise OSError(24, "Too many open files")
        self.renewed += 1
        self.clock.now = START


async def test_a_machine_that_slept_renews_within_a_minute(autojump_clock):
    clock = Clock()
    renewals = Renewals(clock)
    with trio.move_on_after(600):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(renew_certificates, renewals, fake_sources(clock))
            await trio.sleep(100)
            assert renewals.tried == 0
            clock.now += 20 * HOUR
            await trio.sleep(60)
            assert renewals.renewed == 1
    assert renewals.tried == 1


async def test_a_failure_is_tried_again_and_ends_nothing(autojump_clock):
    """Threat P14: no descriptor is free for a moment, and the hub must not go down for that."""
    clock = Clock(START + 1)
    renewals = Renewals(clock, failures=3)
    with trio.move_on_after(300):
        await renew_certificates(renewals, fake_sources(clock))
    assert (renewals.tried, renewals.renewed) == (4, 1)
