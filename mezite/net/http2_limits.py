# SPDX-License-Identifier: Apache-2.0
"""What an HTTP/2 peer may cost us. h2 itself has no flood limits (threat D12); these are ours.

Plain values and arithmetic: time is an argument.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType

import attrs
from h2.errors import ErrorCodes

__all__ = [
    "DEFAULT_FRAME_RATES",
    "FrameKind",
    "Http2FloodError",
    "Http2FrameSizeError",
    "Http2GateError",
    "Http2Limits",
    "Rate",
    "TokenBucket",
]

KIB = 1024
MAX_FRAME_BYTES = 16 * KIB
"""The smallest maximum frame size HTTP/2 allows, which is what we announce by announcing nothing."""


class Http2GateError(Exception):
    """The peer has broken a rule; end the connection with ``error_code``."""

    error_code = ErrorCodes.PROTOCOL_ERROR


class Http2FrameSizeError(Http2GateError):
    """A frame's length is not one its type may have (RFC 9113 section 4.2)."""

    error_code = ErrorCodes.FRAME_SIZE_ERROR


class Http2FloodError(Http2GateError):
    """The peer sent more of something than a sane peer would."""

    error_code = ErrorCodes.ENHANCE_YOUR_CALM


class FrameKind(enum.Enum):
    """Frames that cost the receiver work and the sender almost nothing."""

    SETTINGS = "SETTINGS"
    PING = "PING"
    RESET = "RST_STREAM"
    PRIORITY = "PRIORITY"
    WINDOW_UPDATE = "WINDOW_UPDATE"
    EMPTY_DATA = "empty DATA"
    GOAWAY = "GOAWAY"
    UNKNOWN = "unknown frame"


@attrs.frozen
class Rate:
    """A token bucket's size: so many at once, then so many a second."""

    burst: float
    per_second: float


@attrs.define(eq=False)
class TokenBucket:
    """Counts one kind of event against a rate. Time in seconds of any monotonic clock."""

    rate: Rate
    _tokens: float = attrs.field(init=False)
    _filled_at: float | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._tokens = self.rate.burst

    def take(self, now: float) -> bool:
        """Spend one token; False when there is none."""
        if self._tokens < 1:
            self._refill(now)
        elif self._filled_at is None:
            self._filled_at = now
        self._tokens -= 1
        return self._tokens >= 0

    def give(self, tokens: float) -> None:
        """Add tokens that were earned in another way than by time; never above the burst."""
        self._tokens = min(self.rate.burst, self._tokens + tokens)

    def _refill(self, now: float) -> None:
        since = now - (now if self._filled_at is None else self._filled_at)
        self._filled_at = now
        self.give(since * self.rate.per_second)


DEFAULT_FRAME_RATES: Mapping[FrameKind, Rate] = MappingProxyType(
    {
        FrameKind.SETTINGS: Rate(20, 0.2),  # one at the start, rarely a second
        FrameKind.PING: Rate(400, 20),  # gRPC clients probe bandwidth with a PING per round trip at first
        FrameKind.RESET: Rate(200, 20),  # rapid reset (CVE-2023-44487); nobody cancels calls like that
        FrameKind.PRIORITY: Rate(200, 20),  # nghttp sends five, browsers one a stream
        FrameKind.WINDOW_UPDATE: Rate(800, 100),  # and four for each DATA frame of ours
        FrameKind.EMPTY_DATA: Rate(100, 10),
        FrameKind.GOAWAY: Rate(10, 0.1),
        FrameKind.UNKNOWN: Rate(100, 10),  # to be ignored (RFC 9113 section 5.5), not to be wallowed in
    }
)
"""Chosen so that a flood of any kind is over within 1,000 frames (threat D12)."""


@attrs.frozen(kw_only=True)
class Http2Limits:
    """Everything one connection may use. Times in seconds, sizes in bytes."""

    max_streams: int = 100
    """Open at once, which is also how many handlers run at once."""
    max_header_fields: int = 100
    max_header_bytes: int = 16 * KIB
    """Of one header list, uncompressed and counted as RFC 9113 does (32 more for each field)."""
    max_settings: int = 32
    """In one SETTINGS frame. Six are defined; 2,400 fit a frame and cost 18 ms."""
    max_continuations: int = 8
    """For one header block; CVE-2024-27316 and its kind sent them without end."""
    stream_window: int = 256 * KIB
    """What a peer may send on a stream before our side has read any of it."""
    connection_window: int = 1024 * KIB
    """What may be on the way on all streams together."""
    send_buffer: int = 256 * KIB
    """Unsent data of one stream before its sender waits, whatever window the peer announces: nginx announces
    2 GiB, and flow control alone then holds nothing back."""
    max_control_backlog: int = 64 * KIB
    """Unsent replies (acknowledgements, window updates, resets) above which we stop reading."""
    write_stall: float = 20.0
    """A write that makes no progress for so long ends the connection."""
    stream_stall: float = 120.0
    """A stream whose peer grants no window for so long is reset; longer, because people page through
    output.
    """
    handshake: float = 10.0
    """For the peer's preface and first SETTINGS."""
    first_request: float = 12.0
    """For the first request to come. Who connects and asks nothing has proven nothing: it is gone within 30 s (D14)."""
    idle: float = 60.0
    """Without an open stream, after which the connection is drained."""
    max_age: float = 3600.0
    """After which it is drained: h2 keeps up to 65,536 entries of closed streams (threat P22)."""
    max_requests: int = 10_000
    """After which it is drained, for the same reason; draining loses no call."""
    closing: float = 2.0
    """For the last words (GOAWAY, close_notify) on a connection that is ending."""
    keepalive_interval: float | None = None
    """Seconds between PINGs of ours; None sends none."""
    keepalive_timeout: float = 15.0
    """For the answer to such a PING."""
    frame_rates: Mapping[FrameKind, Rate] = DEFAULT_FRAME_RATES
