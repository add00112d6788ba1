# SPDX-License-Identifier: Apache-2.0
"""The messages of the connection protocol (RFC 4254) that we send, as payloads."""

from __future__ import annotations

import enum

from mezite.ssh.wire import boolean, string, uint32

__all__ = [
    "ConnectionMessage",
    "OpenFailure",
    "channel_close",
    "channel_data_header",
    "channel_eof",
    "channel_open",
    "channel_open_confirmation",
    "channel_open_failure",
    "channel_reply",
    "channel_request",
    "exit_signal",
    "exit_status",
    "global_reply",
    "global_request",
    "window_adjust",
]


class ConnectionMessage(enum.IntEnum):
    """Message numbers of RFC 4254 section 9."""

    GLOBAL_REQUEST = 80
    REQUEST_SUCCESS = 81
    REQUEST_FAILURE = 82
    CHANNEL_OPEN = 90
    CHANNEL_OPEN_CONFIRMATION = 91
    CHANNEL_OPEN_FAILURE = 92
    CHANNEL_WINDOW_ADJUST = 93
    CHANNEL_DATA = 94
    CHANNEL_EXTENDED_DATA = 95
    CHANNEL_EOF = 96
    CHANNEL_CLOSE = 97
    CHANNEL_REQUEST = 98
    CHANNEL_SUCCESS = 99
    CHANNEL_FAILURE = 100


class OpenFailure(enum.IntEnum):
    """Why a channel is not opened (RFC 4254 section 5.1)."""

    PROHIBITED = 1
    CONNECT_FAILED = 2
    UNKNOWN_TYPE = 3
    RESOURCE_SHORTAGE = 4


_M = ConnectionMessage


def _message(kind: ConnectionMessage, *fields: bytes) -> bytes:
    return bytes((kind,)) + b"".join(fields)


def global_request(name: str, *, want_reply: bool) -> bytes:
    """A global request without data."""
    return _message(_M.GLOBAL_REQUEST, string(name), boolean(want_reply))


def global_reply(answer: bytes | None) -> bytes:
    """Success with ``answer`` as data, or failure for ``None``."""
    return _message(_M.REQUEST_FAILURE) if answer is None else _message(_M.REQUEST_SUCCESS, answer)


def channel_open(kind: str, channel: int, *, window: int, packet: int, data: bytes) -> bytes:
    """Ask the client for a channel of ``kind``; ``data`` are the fields of the kind."""
    return _message(_M.CHANNEL_OPEN, string(kind), uint32(channel), uint32(window), uint32(packet), data)


def channel_open_confirmation(remote: int, channel: int, *, window: int, packet: int) -> bytes:
    """Yes to an open."""
    return _message(
        _M.CHANNEL_OPEN_CONFIRMATION, uint32(remote), uint32(channel), uint32(window), uint32(packet)
    )


def channel_open_failure(remote: int, reason: OpenFailure, text: str) -> bytes:
    """No to an open, with a text that OpenSSH shows."""
    return _message(_M.CHANNEL_OPEN_FAILURE, uint32(remote), uint32(reason), string(text), string("en"))


def channel_data_header(remote: int, size: int, *, extended: int | None = None) -> bytes:
    """What precedes ``size`` bytes of data; ``extended`` 1 is standard error."""
    if extended is None:
        return _message(_M.CHANNEL_DATA, uint32(remote), uint32(size))
    return _message(_M.CHANNEL_EXTENDED_DATA, uint32(remote), uint32(extended), uint32(size))


def window_adjust(remote: int, count: int) -> bytes:
    """``count`` more bytes may be sent to us."""
    return _message(_M.CHANNEL_WINDOW_ADJUST, uint32(remote), uint32(count))


def channel_eof(remote: int) -> bytes:
    """No more data from us."""
    return _message(_M.CHANNEL_EOF, uint32(remote))


def channel_close(remote: int) -> bytes:
    """Nothing more at all from us."""
    return _message(_M.CHANNEL_CLOSE, uint32(remote))


def channel_reply(remote: int, ok: bool) -> bytes:
    """The answer to a channel request that wants one."""
    return _message(_M.CHANNEL_SUCCESS if ok else _M.CHANNEL_FAILURE, uint32(remote))


def channel_request(remote: int, name: str, data: bytes = b"") -> bytes:
    """A channel request that wants no reply."""
    return _message(_M.CHANNEL_REQUEST, uint32(remote), string(name), boolean(False), data)


def exit_status(remote: int, status: int) -> bytes:
    """How a program ended by itself (RFC 4254 section 6.10)."""
    return channel_request(remote, "exit-status", uint32(status))


def exit_signal(remote: int, signal: str, *, core_dumped: bool) -> bytes:
    """Which signal ended a program; the name goes without SIG."""
    data = string(signal) + boolean(core_dumped) + string("") + string("")
    return channel_request(remote, "exit-signal", data)
