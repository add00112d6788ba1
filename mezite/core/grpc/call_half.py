# SPDX-License-Identifier: Apache-2.0
"""One direction of a call: the states it walks through, the same for requests and responses."""

from __future__ import annotations

import enum

import attrs

from mezite.core.errors import LocalProtocolError, RemoteProtocolError
from mezite.core.grpc.status import StatusCode

__all__ = ["TRANSITIONS", "CallHalf", "HalfInput", "HalfState"]


class HalfState(enum.Enum):
    """Where one direction of a call is."""

    IDLE = "idle"
    OPEN = "open"
    CLOSED = "closed"


class HalfInput(enum.Enum):
    """What can happen in one direction of a call."""

    HEADERS = "headers"
    MESSAGE = "a message"
    END = "the end"


TRANSITIONS: dict[tuple[HalfState, HalfInput], HalfState] = {
    (HalfState.IDLE, HalfInput.HEADERS): HalfState.OPEN,
    (HalfState.IDLE, HalfInput.END): HalfState.CLOSED,  # trailers alone; a request always has headers first
    (HalfState.OPEN, HalfInput.MESSAGE): HalfState.OPEN,
    (HalfState.OPEN, HalfInput.END): HalfState.CLOSED,
}
"""Every legal step; what is not here is a protocol error."""


@attrs.define(eq=False)
class CallHalf:
    """The state of one direction, and how many messages it has held."""

    ours: bool
    """Whether this side sends it, and so whose fault a wrong step is."""
    streaming: bool
    """False: exactly one message."""
    max_message_bytes: int
    state: HalfState = HalfState.IDLE
    messages: int = 0

    def advance(self, step: HalfInput) -> None:
        """Take one step.

        Raises LocalProtocolError or RemoteProtocolError (code INTERNAL), by who sends this half, for a step that
        is not in the table and for a second message where one belongs; nothing has changed then.
        """
        following = TRANSITIONS.get((self.state, step))
        if following is None:
            raise self._fault(f"{step.value} in a half of the call that is {self.state.value}")
        if step is HalfInput.MESSAGE:
            if self.messages and not self.streaming:
                raise self._fault("a second message in a half of the call that holds one")
            self.messages += 1
        self.state = following

    def require_message(self) -> None:
        """The half has ended: did the one message come? Raises as :meth:`advance`."""
        if not self.streaming and not self.messages:
            raise self._fault("no message in a half of the call that holds one")

    def _fault(self, text: str) -> LocalProtocolError | RemoteProtocolError:
        if self.ours:
            return LocalProtocolError(f"cannot send {text}")
        return RemoteProtocolError(f"received {text}", StatusCode.INTERNAL)
