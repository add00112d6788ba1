# SPDX-License-Identifier: Apache-2.0
"""Claim: any bytes become frames that encode to exactly those bytes again, the same however they are cut,
until they are refused; and a payload that a decoder accepts means the same after a round trip.

Allowed exceptions: RemoteProtocolError, from the frame buffer and from the payload decoders.
"""

import contextlib
from collections.abc import Callable, Iterable

from mezite.core.errors import RemoteProtocolError
from mezite.core.mux.frame_buffer import FrameBuffer
from mezite.core.mux.frames import (
    FrameType,
    decode_goaway,
    decode_reason,
    encode_frame,
    encode_goaway,
    encode_reason,
)
from mezite.core.mux.header import decode_header, encode_header
from mezite.core.mux.limits import MuxLimits
from mezite.core.mux.settings import PeerSettings, decode_settings, encode_settings

MAX_FRAME = 4096


def frames_of(portions: Iterable[bytes]) -> list[tuple[int, int, bytes] | str]:
    """All frames in turn, and the text of the refusal if it comes to that."""
    buffer = FrameBuffer(MAX_FRAME)
    found: list[tuple[int, int, bytes] | str] = []
    for portion in portions:
        buffer.feed(portion)
        try:
            while (frame := buffer.next_frame()) is not None:
                found.append(frame)
        except RemoteProtocolError as error:
            found.append(f"{error.code:d} {error}")
            break
    return found


def header_again(payload: bytes) -> None:
    assert encode_header(decode_header(payload)) == payload


def reason_again(payload: bytes) -> None:
    code, text = decode_reason(payload)
    again = encode_reason(FrameType.RESET, 1, code, text)[8:]
    assert decode_reason(again) == (code, text)


def goaway_again(payload: bytes) -> None:
    values = decode_goaway(payload)
    assert decode_goaway(encode_goaway(*values)[8:]) == values


def settings_again(payload: bytes) -> None:
    settings = decode_settings(payload)
    limits = MuxLimits(
        max_frame=settings.max_frame,
        max_channels=settings.max_channels,
        channel_window=settings.channel_window,
        connection_window=max(settings.connection_window, settings.channel_window),
        window_growth=0,
    )
    again = decode_settings(encode_settings(limits)[8:])
    assert isinstance(again, PeerSettings)
    assert again.max_channels == settings.max_channels


DECODERS: dict[int, Callable[[bytes], None]] = {
    FrameType.OPEN: header_again,
    FrameType.REJECT: reason_again,
    FrameType.RESET: reason_again,
    FrameType.SETTINGS: settings_again,
    FrameType.GOAWAY: goaway_again,
}


def check(data: bytes) -> None:
    """``data`` is what came from the peer."""
    whole = frames_of([data])
    assert frames_of(data[at : at + 1] for at in range(len(data))) == whole
    size = 1 + len(data) // 3
    assert frames_of(data[at : at + size] for at in range(0, len(data), size)) == whole
    encoded = b"".join(encode_frame(*frame) for frame in whole if not isinstance(frame, str))
    assert data.startswith(encoded)
    for frame in whole:
        if not isinstance(frame, str) and frame[0] in DECODERS:
            with contextlib.suppress(RemoteProtocolError):
                DECODERS[frame[0]](frame[2])


if __name__ == "__main__":
    import sys

    import atheris

    atheris.instrument_all()
    atheris.Setup(sys.argv, check)
    atheris.Fuzz()
