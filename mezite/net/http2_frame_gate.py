# SPDX-License-Identifier: Apache-2.0
"""A gate in front of h2: counts frames by their nine-byte headers before h2 spends anything on them.

It also takes GOAWAY out of the stream. h2 treats a received GOAWAY as the end of the connection, but a
graceful one lets the streams that are open go on (RFC 9113 section 6.8), so we have to read it ourselves.

And it holds the peer to what h2 does not ask for: the preface before anything is taken for a frame, SETTINGS
first, and the lengths of frames with the right code.
"""

from __future__ import annotations

import attrs
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    PriorityFrame,
    PushPromiseFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from mezite.net.http2_limits import (
    MAX_FRAME_BYTES,
    FrameKind,
    Http2FloodError,
    Http2FrameSizeError,
    Http2GateError,
    Http2Limits,
    TokenBucket,
)

__all__ = ["CONNECTION_PREFACE", "FrameGate", "GoAway"]

CONNECTION_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES = 9
FLAG_END_STREAM = 0x1
FLAG_ACK = 0x1
FLAG_END_HEADERS = 0x4
FLAG_PADDED = 0x8
SETTING_BYTES = 6
SHORTEST_GOAWAY = 8
LONGEST_PADDED = 256
"""A byte of pad length and 255 of padding: a padded DATA frame of this size may carry nothing."""

UPDATES_EARNED = 4
"""Window updates that a DATA frame of ours may be answered with, twice what was seen."""

_RATED = {
    SettingsFrame.type: FrameKind.SETTINGS,
    PingFrame.type: FrameKind.PING,
    RstStreamFrame.type: FrameKind.RESET,
    PriorityFrame.type: FrameKind.PRIORITY,
    WindowUpdateFrame.type: FrameKind.WINDOW_UPDATE,
    GoAwayFrame.type: FrameKind.GOAWAY,
}
_UNRATED = frozenset({DataFrame.type, HeadersFrame.type, ContinuationFrame.type, PushPromiseFrame.type})


@attrs.frozen
class GoAway:
    """The peer will take no stream above ``last_stream_id``."""

    last_stream_id: int
    error_code: int
    debug_data: bytes


@attrs.define(eq=False)
class FrameGate:
    """Bytes from the peer in, the same bytes without GOAWAY frames out, as long as the peer behaves.

    The result depends on the bytes and the times only, not on how they were cut: what is held back is at
    most an incomplete frame header.
    """

    limits: Http2Limits
    from_client: bool
    """Whether a connection preface comes first."""
    _preface_left: bytes = attrs.field(init=False)
    _settings_seen: bool = attrs.field(default=False, init=False)
    _held: bytes = attrs.field(default=b"", init=False)
    _payload_left: int = attrs.field(default=0, init=False)
    _goaway: bytearray | None = attrs.field(default=None, init=False)
    _received_goaways: list[GoAway] = attrs.field(factory=list, init=False)
    _buckets: dict[FrameKind, TokenBucket] = attrs.field(init=False)
    _block_bytes: int = attrs.field(default=0, init=False)
    _block_frames: int = attrs.field(default=0, init=False)
    _in_block: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._preface_left = CONNECTION_PREFACE if self.from_client else b""
        self._buckets = {kind: TokenBucket(rate) for kind, rate in self.limits.frame_rates.items()}

    def pass_data(self, data: bytes, now: float) -> bytes:
        """Check the bytes; return what h2 shall see.

        Raises Http2GateError for a frame that is one too many, too large or out of place. The connection is over
        then: nothing of this piece was passed on.
        """
        data = self._held + data
        passed: list[bytes] = []
        at = self._pass_preface(data)
        start = 0
        while True:
            end = min(at + self._payload_left, len(data))
            self._payload_left -= end - at
            if self._goaway is not None:
                self._goaway += data[at:end]
                start = end
                if not self._payload_left:
                    self._finish_goaway()
            at = end
            if self._payload_left or len(data) - at < HEADER_BYTES:
                break
            header = data[at : at + HEADER_BYTES]
            self._check_frame(header, now)
            self._payload_left = int.from_bytes(header[:3], "big")
            if header[3] == GoAwayFrame.type:
                passed.append(data[start:at])
                self._goaway = bytearray()
            at += HEADER_BYTES
        self._held = data[at:]
        passed.append(data[start:at])
        return b"".join(passed)

    def _pass_preface(self, data: bytes) -> int:
        """How much of ``data`` belongs to the preface."""
        size = min(len(self._preface_left), len(data))
        if data[:size] != self._preface_left[:size]:
            raise Http2GateError("the connection does not begin with the preface of HTTP/2")
        self._preface_left = self._preface_left[size:]
        return size

    def take_goaways(self) -> list[GoAway]:
        """The GOAWAY frames since the last call, in order."""
        taken, self._received_goaways = self._received_goaways, []
        return taken

    def note_sent_frame(self) -> None:
        """We sent a DATA frame that was not made small by the peer's window: that earns window updates.

        grpcio answers each with two, however small it is. Frames that a tiny window cut earn nothing: a peer
        could otherwise grant a byte at a time and make us send a frame for each (CVE-2019-9511).
        """
        self._buckets[FrameKind.WINDOW_UPDATE].give(UPDATES_EARNED)

    def take(self, kind: FrameKind, now: float) -> None:
        """Count one. Raises Http2FloodError when it is one too many."""
        if not self._buckets[kind].take(now):
            raise Http2FloodError(f"too many of {kind.value}")

    def _check_frame(self, header: bytes, now: float) -> None:
        length = int.from_bytes(header[:3], "big")
        frame_type, flags = header[3], header[4]
        if length > MAX_FRAME_BYTES:
            raise Http2FrameSizeError("a frame above the maximum size")
        if not self._settings_seen:
            if frame_type != SettingsFrame.type or flags & FLAG_ACK:
                raise Http2GateError("the first frame is not SETTINGS")
            self._settings_seen = True
        kind = _RATED.get(frame_type)
        if kind is not None:
            self.take(kind, now)
            if kind is FrameKind.SETTINGS:
                self._check_settings(flags, length)
            elif kind is FrameKind.GOAWAY:
                self._check_goaway(header, length)
        elif frame_type == DataFrame.type:
            may_be_empty = length == 0 or (flags & FLAG_PADDED and length <= LONGEST_PADDED)
            if may_be_empty and not flags & FLAG_END_STREAM:
                self.take(FrameKind.EMPTY_DATA, now)
        elif frame_type in _UNRATED:
            self._check_header_block(frame_type, flags, length)
        else:
            self.take(FrameKind.UNKNOWN, now)

    def _check_settings(self, flags: int, length: int) -> None:
        if flags & FLAG_ACK and length:
            raise Http2FrameSizeError("an acknowledgement of SETTINGS with a payload")
        if length > SETTING_BYTES * self.limits.max_settings:
            raise Http2FloodError("too many settings in one frame")

    def _check_goaway(self, header: bytes, length: int) -> None:
        """What h2 would have seen, had it seen the frame."""
        if self._in_block:
            raise Http2GateError("GOAWAY inside a header block")
        if int.from_bytes(header[5:9], "big") & 0x7FFFFFFF:
            raise Http2GateError("GOAWAY on a stream")
        if length < SHORTEST_GOAWAY:
            raise Http2FrameSizeError("GOAWAY that is too short")

    def _check_header_block(self, frame_type: int, flags: int, length: int) -> None:
        if frame_type == ContinuationFrame.type:
            self._block_frames += 1
        else:
            self._block_bytes = 0
            self._block_frames = 0
        self._block_bytes += length
        self._in_block = not flags & FLAG_END_HEADERS
        if self._block_frames > self.limits.max_continuations:
            raise Http2FloodError("too many CONTINUATION frames")
        # Compressed, so a block as long as the largest list allowed is no longer a sensible one.
        if self._block_bytes > self.limits.max_header_bytes:
            raise Http2FloodError("a header block above the limit")

    def _finish_goaway(self) -> None:
        payload = bytes(self._goaway or b"")
        self._goaway = None
        last_stream_id = int.from_bytes(payload[:4], "big") & 0x7FFFFFFF
        error_code = int.from_bytes(payload[4:8], "big")
        self._received_goaways.append(GoAway(last_stream_id, error_code, payload[8:]))
