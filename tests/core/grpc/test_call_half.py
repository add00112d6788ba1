# SPDX-License-Identifier: Apache-2.0
import itertools

import pytest

from mezite.core.errors import LocalProtocolError, RemoteProtocolError
from mezite.core.grpc.call_half import TRANSITIONS, CallHalf, HalfInput, HalfState
from mezite.core.grpc.status import StatusCode


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize(("state", "step"), list(itertools.product(HalfState, HalfInput)))
def test_every_state_and_input(state, step, ours):
    half = CallHalf(ours, True, 100, state)
    if (state, step) in TRANSITIONS:
        half.advance(step)
        assert half.state is TRANSITIONS[state, step]
        assert half.messages == (step is HalfInput.MESSAGE)
    else:
        with pytest.raises(LocalProtocolError if ours else RemoteProtocolError):
            half.advance(step)
        assert (half.state, half.messages) == (state, 0)


def test_a_half_that_is_no_stream_holds_one_message():
    half = CallHalf(False, False, 100, HalfState.OPEN)
    with pytest.raises(RemoteProtocolError) as caught:
        half.require_message()
    assert caught.value.code == StatusCode.INTERNAL
    half.advance(HalfInput.MESSAGE)
    half.require_message()
    with pytest.raises(RemoteProtocolError):
        half.advance(HalfInput.MESSAGE)
    assert half.messages == 1


def test_a_stream_may_be_empty():
    CallHalf(False, True, 100, HalfState.CLOSED).require_message()
