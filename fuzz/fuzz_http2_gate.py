# SPDX-License-Identifier: Apache-2.0
"""Claim: behind the gate h2 sees the bytes of the peer without its GOAWAY frames and never more; the result does
not depend on how they were cut; and no input makes a connection raise anything but what ends it, or grow.

Allowed exceptions: Http2GateError from the gate; from a connection also h2's ProtocolError.
"""

import contextlib

import h2.exceptions

from mezite.net.http2_connection import ConnectionHooks, Http2Connection
from mezite.net.http2_frame_gate import CONNECTION_PREFACE, FrameGate
from mezite.net.http2_limits import Http2GateError, Http2Limits
from mezite.net.http2_request import RequestRefusedError, parse_request
from mezite.net.http2_stream import Http2Stream

LIMITS = Http2Limits()
SETTINGS = b"\0\0\0\4\0\0\0\0\0"
MOST_REPLY = 64 * 1024


def through_gate(wire: bytes, size: int) -> tuple[bytes, int] | None:
    """What passes and how many GOAWAYs were taken out; None when the gate shut."""
    gate = FrameGate(LIMITS, from_client=False)
    gate.pass_data(SETTINGS, 0.0)
    passed = b""
    try:
        for start in range(0, len(wire), size):
            passed += gate.pass_data(wire[start : start + size], 0.0)
    except Http2GateError:
        return None
    return passed, len(gate.take_goaways())


def serve(wire: bytes) -> None:
    """A server connection with a handler that refuses everything it may."""

    def refuse(stream: Http2Stream) -> None:
        try:
            parse_request(stream.received_headers or (), LIMITS)
        except RequestRefusedError as error:
            stream.send_headers([(b":status", error.status)], end_stream=True)

    hooks = ConnectionHooks(output=lambda: None, request=refuse, stream_end=lambda _stream: None)
    connection = Http2Connection(LIMITS, hooks, client_side=False)
    connection.take_output()
    with contextlib.suppress(Http2GateError, h2.exceptions.ProtocolError):
        connection.receive_data(CONNECTION_PREFACE + SETTINGS + wire, 0.0)
    assert len(connection.streams) <= LIMITS.max_streams
    assert len(connection.take_output()) <= MOST_REPLY + 16 * len(wire)


def check(data: bytes) -> None:
    """The first byte says how the rest is cut."""
    size, wire = max(1, data[0] if data else 1), data[1:]
    whole = through_gate(wire, max(1, len(wire)))
    assert through_gate(wire, size) == whole
    if whole is not None:
        passed, goaways = whole
        assert len(passed) <= len(wire)
        if not goaways:
            assert wire.startswith(passed)
    serve(wire)
