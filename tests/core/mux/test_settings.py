# SPDX-License-Identifier: Apache-2.0
import struct

import pytest

from mezite.core.errors import RemoteProtocolError
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.mux.limits import MuxLimits
from mezite.core.mux.settings import PeerSettings, decode_settings, encode_settings

DEFAULT = encode_settings(MuxLimits())[8:]


def payload(entries: dict[int, int] | list[tuple[int, int]], versions: bytes = b"\1\1") -> bytes:
    items = entries.items() if isinstance(entries, dict) else entries
    return b"MZTM" + versions + b"".join(struct.pack(">HI", *item) for item in items)


GOOD = {1: 4096, 2: 0, 3: 4096, 4: 4096}


def test_limits_come_back() -> None:
    assert decode_settings(DEFAULT) == PeerSettings(
        version=1, max_frame=524288, max_channels=1024, channel_window=65536, connection_window=2**26
    )


def test_unknown_entries_are_ignored() -> None:
    assert decode_settings(payload(GOOD | {77: 1})).max_channels == 0


@pytest.mark.parametrize("versions", [b"\1\1", b"\0\1", b"\1\7", b"\0\xff"])
def test_versions_in_common(versions: bytes) -> None:
    assert decode_settings(payload(GOOD, versions)).version == 1


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        (b"HTTP/1.1 400 Bad Request", ErrorCode.PROTOCOL_ERROR),
        (payload(GOOD, b"\2\3"), ErrorCode.VERSION_UNSUPPORTED),
        (payload(GOOD, b"\0\0"), ErrorCode.VERSION_UNSUPPORTED),
        (payload(GOOD)[:-1], ErrorCode.SETTINGS_INVALID),
        (payload({1: 4096, 2: 0, 3: 4096}), ErrorCode.SETTINGS_INVALID),
        (payload([*GOOD.items(), (2, 0)]), ErrorCode.SETTINGS_INVALID),
        (payload(GOOD | {1: 4095}), ErrorCode.SETTINGS_INVALID),
        (payload(GOOD | {1: 2**20 + 1}), ErrorCode.SETTINGS_INVALID),
        (payload(GOOD | {2: 65537}), ErrorCode.SETTINGS_INVALID),
        (payload(GOOD | {3: 2**24 + 1}), ErrorCode.SETTINGS_INVALID),
        (payload(GOOD | {4: 2**31}), ErrorCode.SETTINGS_INVALID),
    ],
)
def test_what_is_refused(wrong: bytes, code: ErrorCode) -> None:
    with pytest.raises(RemoteProtocolError) as caught:
        decode_settings(wrong)
    assert caught.value.code == code
