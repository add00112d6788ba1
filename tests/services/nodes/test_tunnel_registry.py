# SPDX-License-Identifier: Apache-2.0
"""One way to each agent: the newest, for exactly as long as it lives (threats B1, B4)."""

from contextlib import ExitStack
from itertools import permutations

import pytest

from mezite.services.nodes.tunnel_registry import StaleEpochError, TunnelRegistry
from tests.services.tunnels import Closings


@pytest.fixture
def registry():
    return TunnelRegistry()


@pytest.fixture
def closings():
    return Closings()


def test_a_tunnel_is_there_for_the_duration_of_its_claim(registry, closings):
    tunnel = closings.tunnel()
    assert registry.find("a-1") is None
    with registry.claim(tunnel):
        assert registry.find("a-1") is tunnel
        assert registry.find("web-1") is None, "not by a name (threat B1)"
        assert registry.tunnels() == [tunnel]
        assert registry.statistics().tunnels == 1
    assert registry.find("a-1") is None
    assert registry.statistics().tunnels == 0
    assert closings.closed == []


def test_a_claim_ends_with_an_error_too(registry, closings):
    with pytest.raises(KeyError), registry.claim(closings.tunnel()):
        raise KeyError
    assert registry.tunnels() == []


def test_a_newer_tunnel_takes_the_place(registry, closings):
    old, new = closings.tunnel(epoch=1), closings.tunnel(epoch=2)
    with ExitStack() as stack:
        stack.enter_context(registry.claim(old))
        with registry.claim(new):
            assert closings.closed == [("a-1", 1)]
            assert registry.find("a-1") is new
        assert registry.find("a-1") is None
    assert registry.find("a-1") is None


def test_the_old_one_that_ends_late_does_not_take_the_new_one_along(registry, closings):
    """Threat B4: unregistering by name would."""
    old, new = registry.claim(closings.tunnel(epoch=1)), closings.tunnel(epoch=2)
    old.__enter__()
    with registry.claim(new):
        old.__exit__(None, None, None)
        assert registry.find("a-1") is new


@pytest.mark.parametrize("epoch", [0, 4, 5])
def test_an_older_or_equal_epoch_is_refused(registry, closings, epoch):
    """Threat B1: the connections of one agent can overtake each other."""
    current = closings.tunnel(epoch=5)
    with registry.claim(current):
        with pytest.raises(StaleEpochError, match="epoch 5"), registry.claim(closings.tunnel(epoch=epoch)):
            pytest.fail("it was let in")
        assert registry.find("a-1") is current
    assert closings.closed == []


def test_agents_do_not_disturb_each_other(registry, closings):
    """Threat B1: two agents that call themselves by the same node name are two."""
    with registry.claim(closings.tunnel("a-1", 9)), registry.claim(closings.tunnel("a-2", 1)):
        assert registry.find("a-1").epoch == 9
        assert registry.find("a-2").epoch == 1
        assert [tunnel.agent_id for tunnel in registry.tunnels()] == ["a-1", "a-2"]
    assert closings.closed == []


STEPS = [(what, epoch) for epoch in (1, 2, 3) for what in ("come", "go")]


def orders():
    """All interleavings of three connections that each come and then go."""
    return {
        order
        for order in permutations(STEPS)
        if all(order.index(("come", epoch)) < order.index(("go", epoch)) for epoch in (1, 2, 3))
    }


def test_all_interleavings_of_three_connections():
    """Threat B1. At each moment the way to the agent is the highest epoch that has come and whose tunnel has not ended;
    a lower one that comes later is refused; whoever is replaced is told once.
    """
    assert len(orders()) == 90
    for order in orders():
        registry, closings = TunnelRegistry(), Closings()
        open_claims, current, told = {}, None, []
        for what, epoch in order:
            if what == "come":
                claim = registry.claim(closings.tunnel(epoch=epoch))
                if current is not None and current > epoch:
                    with pytest.raises(StaleEpochError):
                        claim.__enter__()
                    continue
                claim.__enter__()
                open_claims[epoch] = claim
                if current is not None:
                    told.append(("a-1", current))
                current = epoch
            elif epoch in open_claims:
                open_claims.pop(epoch).__exit__(None, None, None)
                current = None if current == epoch else current
            found = registry.find("a-1")
            assert (found.epoch if found else None) == current, order
            assert closings.closed == told, order
        assert registry.tunnels() == []
