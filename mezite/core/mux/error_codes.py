# SPDX-License-Identifier: Apache-2.0
"""The codes of docs/mux-protocol.md, section Codes."""

import enum

__all__ = ["ErrorCode"]


@enum.unique
class ErrorCode(enum.IntEnum):
    """Why a channel was rejected or reset, or a connection ended."""

    NO_ERROR = 0
    PROTOCOL_ERROR = 1
    FRAME_ERROR = 2
    FRAME_TOO_LARGE = 3
    FLOW_CONTROL = 4
    UNKNOWN_CHANNEL = 5
    CHANNEL_CLOSED = 6
    VERSION_UNSUPPORTED = 7
    SETTINGS_INVALID = 8
    FLOOD = 9
    TOO_MANY_CHANNELS = 10
    BACKLOG_FULL = 11
    DRAINING = 12
    REFUSED = 13
    NOT_FOUND = 14
    UNREACHABLE = 15
    DEADLINE = 16
    CANCELLED = 17
    INTERNAL_ERROR = 18
    REPLACED = 19
    CONNECTION_LOST = 20

    @classmethod
    def from_wire(cls, value: int) -> "ErrorCode":
        """The member; INTERNAL_ERROR for a code of a later version."""
        try:
            return cls(value)
        except ValueError:
            return cls.INTERNAL_ERROR
