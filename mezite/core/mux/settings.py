# SPDX-License-Identifier: Apache-2.0
"""The first frame of each side; docs/mux-protocol.md, section Start: versions and limits."""

import struct
from typing import Final

import attrs

from mezite.core.errors import RemoteProtocolError
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.mux.frames import FrameType, encode_frame
from mezite.core.mux.limits import LARGEST_CREDIT, LARGEST_FRAME, SMALLEST_WINDOW, MuxLimits

__all__ = ["HIGHEST_VERSION", "LOWEST_VERSION", "PeerSettings", "decode_settings", "encode_settings"]

MAGIC: Final = b"MZTM"
LOWEST_VERSION: Final = 1
HIGHEST_VERSION: Final = 1
ENTRY: Final = struct.Struct(">HI")
RANGES: Final = {
    1: ("max_frame", SMALLEST_WINDOW, LARGEST_FRAME),
    2: ("max_channels", 0, 65536),
    3: ("channel_window", SMALLEST_WINDOW, 16 * 1024 * 1024),
    4: ("connection_window", SMALLEST_WINDOW, LARGEST_CREDIT),
}


@attrs.frozen(kw_only=True)
class PeerSettings:
    """What the peer grants us, and the version both speak."""

    version: int
    max_frame: int
    max_channels: int
    channel_window: int
    connection_window: int


def encode_settings(limits: MuxLimits) -> bytes:
    """The SETTINGS frame that announces ``limits``."""
    entries = b"".join(ENTRY.pack(number, getattr(limits, name)) for number, (name, _, _) in RANGES.items())
    return encode_frame(FrameType.SETTINGS, 0, MAGIC + bytes([LOWEST_VERSION, HIGHEST_VERSION]) + entries)


def decode_settings(payload: bytes) -> PeerSettings:
    """Settings from a SETTINGS payload.

    Raises RemoteProtocolError: PROTOCOL_ERROR for a wrong magic, VERSION_UNSUPPORTED, SETTINGS_INVALID when
    an entry is cut off, repeated, missing or out of range.
    """
    if payload[:4] != MAGIC:
        raise RemoteProtocolError("the peer does not speak the mux protocol", ErrorCode.PROTOCOL_ERROR)
    lowest, highest = payload[4], payload[5]
    version = min(highest, HIGHEST_VERSION)
    if version < max(lowest, LOWEST_VERSION):
        text = f"versions {LOWEST_VERSION}-{HIGHEST_VERSION} here, {lowest}-{highest} there"
        raise RemoteProtocolError(text, ErrorCode.VERSION_UNSUPPORTED)
    entries = payload[6:]
    if len(entries) % ENTRY.size:
        raise RemoteProtocolError("a setting is cut off", ErrorCode.SETTINGS_INVALID)
    values: dict[str, int] = {}
    for number, value in ENTRY.iter_unpack(entries):
        if number not in RANGES:
            continue
        name, low, high = RANGES[number]
        if name in values or not low <= value <= high:
            raise RemoteProtocolError(f"setting {name} repeated or out of range", ErrorCode.SETTINGS_INVALID)
        values[name] = value
    if len(values) < len(RANGES):
        raise RemoteProtocolError("a setting is missing", ErrorCode.SETTINGS_INVALID)
    return PeerSettings(version=version, **values)
