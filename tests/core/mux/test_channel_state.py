# SPDX-License-Identifier: Apache-2.0
"""Every (state, input) pair, and the diagram of the spec."""

import itertools
import re
from pathlib import Path

import pytest

from mezite.core.mux.channel_state import ANSWER_RESET, TRANSITIONS, ChannelInput, ChannelState, next_state

SPEC = (Path(__file__).parents[3] / "docs" / "mux-protocol.md").read_text(encoding="utf-8")


def drawn() -> dict[tuple[str, str], str]:
    """What the spec says is legal: the arrows, and the table of what changes nothing."""
    arrows = re.findall(r"^    ([A-Z_]+) --> ([A-Z_]+): ([A-Z_]+)$", SPEC, re.MULTILINE)
    legal = {(state, happened): after for state, after, happened in arrows}
    assert len(legal) == len(arrows)
    for state, inputs in re.findall(
        r"^\| ([A-Z_]+) \| ((?:(?:SEND|RECEIVE)_[A-Z]+ ?)+)\|$", SPEC, re.MULTILINE
    ):
        for happened in inputs.split():
            assert (state, happened) not in legal
            legal[state, happened] = state
    return legal


DRAWN = drawn()


@pytest.mark.parametrize(
    ("state", "happened"), list(itertools.product(ChannelState, ChannelInput)), ids=lambda value: value.name
)
def test_every_pair_is_as_the_spec_draws_it(state: ChannelState, happened: ChannelInput) -> None:
    after = next_state(state, happened)
    assert (after.name if after else None) == DRAWN.get((state.name, happened.name))


def test_every_state_is_in_the_table() -> None:
    assert set(TRANSITIONS) == set(ChannelState)
    assert len(DRAWN) == sum(map(len, TRANSITIONS.values()))


def test_nothing_is_sent_after_the_end() -> None:
    for state in (ChannelState.ABORTED, ChannelState.ABORTED_AFTER_EOF, ChannelState.CLOSED):
        assert not any(happened.name.startswith("SEND") for happened in TRANSITIONS[state])


def test_a_reset_is_answered_exactly_where_it_closes_a_living_channel() -> None:
    closing = {
        state
        for state, row in TRANSITIONS.items()
        if row.get(ChannelInput.RECEIVE_RESET) is ChannelState.CLOSED
    }
    assert (
        closing - {ChannelState.ABORTED, ChannelState.ABORTED_AFTER_EOF, ChannelState.CLOSED} == ANSWER_RESET
    )
