# SPDX-License-Identifier: Apache-2.0
"""Bytes in, whole frames out, for the byte path of every tunnel."""

from mezite.core.errors import LocalProtocolError, RemoteProtocolError
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.mux.frames import FRAME_HEADER, HEADER_SIZE, PAYLOAD_LENGTHS, FrameType

__all__ = ["FrameBuffer"]

# The driver hands over one read (some 512 KiB) and takes all frames before the next. This much undrained is a
# bug of ours.
UNDRAINED_LIMIT = 64 * 1024 * 1024

# From here on the beginning of a DATA payload is worth handing out before its end has come: putting the two
# together would copy every byte twice more, and a read seldom ends where a frame does. Below it, a frame is
# whole more often than not in the next read, and one event costs less than two.
EARLY_BYTES = 16 * 1024


class FrameBuffer:
    """Cuts the incoming bytes into frames.

    A frame that lies whole in what one call brought is copied once, out of it. So is a large DATA payload
    that two calls share: it comes out as several frames, one for each call. Any other frame that two calls
    share is assembled in a buffer of its own, which takes just the bytes that complete it: so the time is
    linear, however the bytes are cut. Payloads are copies, never views: a view of one byte would keep the
    whole read alive, and a peer could make us hold 512 KiB for each byte of credit (threat B9).
    """

    def __init__(self, max_frame: int) -> None:
        self._lengths = dict(PAYLOAD_LENGTHS)
        shortest, _ = self._lengths[4]
        self._lengths[4] = (shortest, max_frame)
        self._source = memoryview(b"")
        self._position = 0
        self._split = bytearray()
        self._split_needs = 0
        self._data_channel = 0
        self._data_missing = 0

    def feed(self, data: bytes | bytearray | memoryview) -> None:
        """Add what arrived; ``data`` is kept, not copied, and must not change until there is no next frame.

        Raises LocalProtocolError when frames are never taken.
        """
        rest = len(self._source) - self._position
        if rest + len(data) > UNDRAINED_LIMIT:
            raise LocalProtocolError("received data is not being taken")
        if rest:
            data = bytes(self._source[self._position :]) + data
        self._source = memoryview(data)
        self._position = 0

    @property
    def pending(self) -> bool:
        """Part of a frame has arrived and its end has not."""
        return bool(self._split or self._data_missing)

    def next_frame(self) -> tuple[int, int, bytes] | None:
        """Type, channel id and payload of the next frame, or None when there is none.

        What has arrived of a DATA frame may come out as a frame of its own, and the rest as further ones: the
        bytes and their order count, not how they are divided.

        Raises RemoteProtocolError from the header alone: FRAME_ERROR for an unknown type, an impossible
        length or id, FRAME_TOO_LARGE.
        """
        if self._split:
            return self._next_split_frame()
        if self._data_missing:
            return self._next_data_piece()
        source, start = self._source, self._position
        body = start + HEADER_SIZE
        if body <= len(source):
            word, channel_id = FRAME_HEADER.unpack_from(source, start)
            end = body + self._checked_length(word, channel_id)
            if end <= len(source):
                self._position = end
                return word >> 24, channel_id, bytes(source[body:end])
            if word >> 24 == FrameType.DATA and len(source) - body >= EARLY_BYTES:
                self._position = body
                self._data_channel, self._data_missing = channel_id, end - body
                return self._next_data_piece()
            self._split_needs = end - start
        elif start == len(source):
            return None
        else:
            self._split_needs = HEADER_SIZE
        self._split += source[start:]
        self._source, self._position = memoryview(b""), 0
        return None

    def _next_data_piece(self) -> tuple[int, int, bytes] | None:
        """What is here of the DATA payload under way."""
        start = self._position
        piece = bytes(self._source[start : start + self._data_missing])
        if not piece:
            return None
        self._position += len(piece)
        self._data_missing -= len(piece)
        return FrameType.DATA, self._data_channel, piece

    def _next_split_frame(self) -> tuple[int, int, bytes] | None:
        """Complete the frame in ``_split``: first its header, then the rest."""
        split = self._split
        while True:
            missing = self._split_needs - len(split)
            split += self._source[self._position : self._position + missing]
            self._position = min(self._position + missing, len(self._source))
            if len(split) < self._split_needs:
                self._source, self._position = memoryview(b""), 0
                return None
            word, channel_id = FRAME_HEADER.unpack_from(split)
            end = HEADER_SIZE + self._checked_length(word, channel_id)
            if end == len(split):
                payload = bytes(memoryview(split)[HEADER_SIZE:])
                self._split = bytearray()
                return word >> 24, channel_id, payload
            self._split_needs = end

    def _checked_length(self, word: int, channel_id: int) -> int:
        kind, length = word >> 24, word & 0xFFFFFF
        shortest, longest = self._lengths.get(kind, (1, 0))
        if shortest <= length <= longest and channel_id < 1 << 31:
            return length
        if kind not in self._lengths:
            raise RemoteProtocolError(f"there is no frame type {kind}", ErrorCode.FRAME_ERROR)
        if length > longest:
            text = f"frame type {kind}: {length} bytes, {longest} allowed"
            raise RemoteProtocolError(text, ErrorCode.FRAME_TOO_LARGE)
        text = f"frame type {kind}: impossible length or channel id"
        raise RemoteProtocolError(text, ErrorCode.FRAME_ERROR)
