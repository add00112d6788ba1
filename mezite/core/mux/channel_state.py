# SPDX-License-Identifier: Apache-2.0
"""The life of one channel as one side sees it: the table, and the one function that reads it.

Both sides use the same table; it knows neither who dialled nor who opened. Inputs are frames as they are put
on the wire or taken from it, not wishes of the application: an EOF that still waits behind queued DATA has
not been sent.

The difficulty is what may still be under way. After our RESET the peer's frames keep coming until it has seen
it, so a reset channel lingers as ABORTED until the peer's own RESET says that nothing more follows. A peer
that had closed the channel already does not answer; but then it had sent its EOF and has received ours, so
when our EOF was out before the RESET its EOF is the end as well: that is ABORTED_AFTER_EOF. After CLOSED only
leftovers of the peer's that crossed ours on the way can come, and those two are harmless.
"""

import enum
from typing import Final

__all__ = ["ANSWER_RESET", "TRANSITIONS", "ChannelInput", "ChannelState", "next_state"]


@enum.unique
class ChannelState(enum.Enum):
    """Named as in the diagram of docs/mux-protocol.md."""

    IDLE = enum.auto()
    OPENING = enum.auto()
    OFFERED = enum.auto()
    OPEN = enum.auto()
    SEND_CLOSED = enum.auto()
    RECEIVE_CLOSED = enum.auto()
    ABORTED = enum.auto()
    ABORTED_AFTER_EOF = enum.auto()
    CLOSED = enum.auto()


@enum.unique
class ChannelInput(enum.Enum):
    """A frame of this channel, sent or received."""

    SEND_OPEN = enum.auto()
    RECEIVE_OPEN = enum.auto()
    SEND_ACCEPT = enum.auto()
    RECEIVE_ACCEPT = enum.auto()
    SEND_REJECT = enum.auto()
    RECEIVE_REJECT = enum.auto()
    SEND_DATA = enum.auto()
    RECEIVE_DATA = enum.auto()
    SEND_EOF = enum.auto()
    RECEIVE_EOF = enum.auto()
    SEND_RESET = enum.auto()
    RECEIVE_RESET = enum.auto()
    SEND_WINDOW = enum.auto()
    RECEIVE_WINDOW = enum.auto()


S, I = ChannelState, ChannelInput  # noqa: E741 - two letters keep the table on one screen

TRANSITIONS: Final[dict[ChannelState, dict[ChannelInput, ChannelState]]] = {
    S.IDLE: {
        I.SEND_OPEN: S.OPENING,
        I.RECEIVE_OPEN: S.OFFERED,
    },
    S.OPENING: {
        I.RECEIVE_ACCEPT: S.OPEN,
        I.RECEIVE_REJECT: S.CLOSED,
        I.SEND_RESET: S.ABORTED,
    },
    S.OFFERED: {
        I.SEND_ACCEPT: S.OPEN,
        I.SEND_REJECT: S.CLOSED,
        I.RECEIVE_RESET: S.CLOSED,
    },
    S.OPEN: {
        I.SEND_DATA: S.OPEN,
        I.RECEIVE_DATA: S.OPEN,
        I.SEND_WINDOW: S.OPEN,
        I.RECEIVE_WINDOW: S.OPEN,
        I.SEND_EOF: S.SEND_CLOSED,
        I.RECEIVE_EOF: S.RECEIVE_CLOSED,
        I.SEND_RESET: S.ABORTED,
        I.RECEIVE_RESET: S.CLOSED,
    },
    S.SEND_CLOSED: {
        I.RECEIVE_DATA: S.SEND_CLOSED,
        I.SEND_WINDOW: S.SEND_CLOSED,
        I.RECEIVE_WINDOW: S.SEND_CLOSED,
        I.RECEIVE_EOF: S.CLOSED,
        I.SEND_RESET: S.ABORTED_AFTER_EOF,
        I.RECEIVE_RESET: S.CLOSED,
    },
    S.RECEIVE_CLOSED: {
        I.SEND_DATA: S.RECEIVE_CLOSED,
        I.RECEIVE_WINDOW: S.RECEIVE_CLOSED,
        I.SEND_EOF: S.CLOSED,
        I.SEND_RESET: S.ABORTED,
        I.RECEIVE_RESET: S.CLOSED,
    },
    S.ABORTED: {
        I.RECEIVE_ACCEPT: S.ABORTED,
        I.RECEIVE_DATA: S.ABORTED,
        I.RECEIVE_WINDOW: S.ABORTED,
        I.RECEIVE_EOF: S.ABORTED,
        I.RECEIVE_REJECT: S.CLOSED,
        I.RECEIVE_RESET: S.CLOSED,
    },
    S.ABORTED_AFTER_EOF: {
        I.RECEIVE_DATA: S.ABORTED_AFTER_EOF,
        I.RECEIVE_WINDOW: S.ABORTED_AFTER_EOF,
        I.RECEIVE_EOF: S.CLOSED,
        I.RECEIVE_RESET: S.CLOSED,
    },
    S.CLOSED: {
        I.RECEIVE_WINDOW: S.CLOSED,
        I.RECEIVE_RESET: S.CLOSED,
    },
}

ANSWER_RESET: Final = frozenset({S.OFFERED, S.OPEN, S.SEND_CLOSED, S.RECEIVE_CLOSED})
"""States in which a RESET that arrives is answered with one."""


def next_state(state: ChannelState, happened: ChannelInput) -> ChannelState | None:
    """The state after ``happened``, or None when that is a protocol error of whoever sent the frame."""
    return TRANSITIONS[state].get(happened)
