# SPDX-License-Identifier: Apache-2.0
"""One HTTP/2 connection between h2 and the streams, either side; no task and no socket in here.

h2 does frames, HPACK and states. What it leaves to its user is done here: windows, a graceful GOAWAY, and
every limit.

Flow control: the connection window is re-opened as data arrives, a stream's window as its user takes the
data. So a slow handler holds back its own stream only, and memory is bounded by streams times stream
window.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from typing import Any

import attrs
import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings

from mezite.core.h2c import UpgradeRequest
from mezite.net.http2_ending import ConnectionEnding, EndingState
from mezite.net.http2_fields import FieldDecoder, FieldEncoder
from mezite.net.http2_frame_gate import FrameGate, GoAway
from mezite.net.http2_limits import FrameKind, Http2Limits
from mezite.net.http2_pings import Http2Pings
from mezite.net.http2_request import Header, check_header_block, is_body_whole
from mezite.net.http2_sender import Http2Sender
from mezite.net.http2_stream import (
    Http2ConnectionLostError,
    Http2Error,
    Http2Stream,
    StreamPort,
    StreamResetError,
)
from mezite.net.http2_windows import ReceiveWindows

__all__ = ["ConnectionHooks", "Http2Connection"]

OUTPUT_CHUNK = 64 * 1024
"""Data framed at once; the writer yields in between."""


@attrs.frozen(kw_only=True)
class ConnectionHooks:
    """Whom the connection tells."""

    output: Callable[[], None]
    """There may be something to send."""
    request: Callable[[Http2Stream], None]
    """Server: a new stream, its headers received and of allowed size."""
    stream_end: Callable[[Http2Stream], None]
    """A stream is done with, for whatever reason."""


def _settings(limits: Http2Limits, *, client: bool) -> h2.settings.Settings:
    codes = h2.settings.SettingCodes
    values = {
        codes.INITIAL_WINDOW_SIZE: limits.stream_window,
        codes.MAX_CONCURRENT_STREAMS: limits.max_streams,
        codes.MAX_HEADER_LIST_SIZE: limits.max_header_bytes,
        codes.ENABLE_PUSH: 0,
    }
    return h2.settings.Settings(client=client, initial_values=values)


def _make_h2(
    limits: Http2Limits, *, client: bool, upgrade: UpgradeRequest | None
) -> h2.connection.H2Connection:
    config = h2.config.H2Configuration(
        client_side=client,
        header_encoding=None,
        # A tenth of the time of a call. What we send is checked where it is made (core/grpc/metadata).
        validate_outbound_headers=False,
        normalize_outbound_headers=False,
    )
    connection = h2.connection.H2Connection(config)
    connection.local_settings = _settings(limits, client=client)
    connection.decoder = FieldDecoder()
    connection.encoder = FieldEncoder()
    # At once: a peer that never acknowledges our SETTINGS must not escape the limit.
    connection.decoder.max_header_list_size = limits.max_header_bytes
    if upgrade is None:
        connection.initiate_connection()
    else:
        connection.initiate_upgrade_connection(base64.urlsafe_b64encode(upgrade.settings))
    # The connection's window starts at 65,535 whatever the settings say (RFC 9113 section 6.9.2).
    connection.increment_flow_control_window(limits.connection_window - 65_535)
    return connection


class Http2Connection:
    """Bytes in, streams fed, bytes out. ``now`` is trio's clock in seconds.

    A server that was asked for HTTP/2 by ``upgrade`` begins with that request as stream 1; call
    :meth:`receive_upgraded_request` once requests can be taken.
    """

    def __init__(
        self,
        limits: Http2Limits,
        hooks: ConnectionHooks,
        *,
        client_side: bool,
        upgrade: UpgradeRequest | None = None,
    ) -> None:
        self.limits = limits
        self.streams: dict[int, Http2Stream] = {}
        self.control_backlog = 0
        """Bytes of replies that what the peer sent has made us queue; the driver counts it down."""
        self.settings_received = False
        self.requests = 0
        """Streams opened so far, by whoever is the client."""
        self._hooks = hooks
        self._client_side = client_side
        self.gate = FrameGate(limits, from_client=not client_side)
        self._output = bytearray()
        self._now = 0.0
        self._upgrade = upgrade
        self._h2 = _make_h2(limits, client=client_side, upgrade=upgrade)
        self.ending = ConnectionEnding(self._h2, self._write, client_side=client_side)
        self.pings = Http2Pings(self._h2, self.ending, hooks.output)
        self._sender = Http2Sender(
            self._h2,
            on_output=hooks.output,
            on_frame=self.gate.note_sent_frame,
            on_end=self._local_half_sent,
        )
        self._windows = ReceiveWindows(self._h2, limits, hooks.output)
        self._port = StreamPort(
            send_headers=self._send_headers,
            has_output=self._sender.queue,
            consumed=self._windows.consumed,
            reset=self._reset,
        )
        self._handlers: dict[type[h2.events.Event], Callable[[Any], None]] = {
            h2.events.RequestReceived: self._request_received,
            h2.events.ResponseReceived: self._headers_received,
            h2.events.TrailersReceived: self._headers_received,
            h2.events.DataReceived: self._data_received,
            h2.events.StreamEnded: self._stream_ended,
            h2.events.StreamReset: self._stream_reset,
            h2.events.WindowUpdated: self._sender.window_updated,
            h2.events.RemoteSettingsChanged: self._settings_changed,
            h2.events.PingAckReceived: self.pings.answered,
        }

    # -- for the driver --------------------------------------------------------------------------

    def receive_data(self, data: bytes, now: float) -> None:
        """Take bytes from the peer.

        Raises Http2GateError or h2.exceptions.ProtocolError when the connection has to end; call
        :meth:`fail` then.
        """
        self._now = now
        passed = self.gate.pass_data(data, now)
        before = len(self._output) + self._flush_h2()
        try:
            for event in self._h2.receive_data(passed):
                handler = self._handlers.get(type(event))
                if handler is not None:
                    handler(event)
        finally:
            self.control_backlog += len(self._output) + self._flush_h2() - before
            if self._output:
                self._hooks.output()
        for goaway in self.gate.take_goaways():
            self._goaway_received(goaway)

    def receive_upgraded_request(self) -> None:
        """Hand on the request that asked for HTTP/2, if one did (RFC 7540 section 3.2)."""
        if self._upgrade is not None:
            # As behind any SETTINGS; those of the upgrade are not acknowledged.
            self._sender.settings_changed()
            request = h2.events.RequestReceived(stream_id=1, headers=list(self._upgrade.fields))
            self._request_received(request, self._upgrade.body)
            self._upgrade = None

    def take_output(self) -> bytearray:
        """What to send next; empty when there is nothing."""
        self._sender.fill(OUTPUT_CHUNK - len(self._output))
        self._flush_h2()
        output, self._output = self._output, bytearray()
        return output

    def open_stream(self, fields: Iterable[Header], *, end_stream: bool = False) -> Http2Stream:
        """Client: begin a request.

        Raises h2.exceptions.TooManyStreamsError when the peer allows no more at present, and
        NoAvailableStreamIDError when the connection is used up.
        """
        stream = Http2Stream(self._h2.get_next_available_stream_id(), self.limits, self._port)
        self._h2.send_headers(stream.stream_id, list(fields), end_stream=end_stream)
        stream.local_ended = stream.local_sent = end_stream
        self.streams[stream.stream_id] = stream
        self.requests += 1
        self._hooks.output()
        return stream

    def fail(self, failure: Http2Error, error_code: h2.errors.ErrorCodes | None = None) -> None:
        """End all streams; with a code also tell the peer by GOAWAY, if h2 has not done so itself."""
        for stream in list(self.streams.values()):
            self._drop(stream, failure)
        if error_code is not None:
            self.ending.abort(error_code)
        self._hooks.output()

    # -- for streams -----------------------------------------------------------------------------

    def _send_headers(self, stream: Http2Stream, fields: list[Header], end_stream: bool) -> None:
        self._h2.send_headers(stream.stream_id, fields, end_stream=end_stream)
        if end_stream:
            self._local_half_sent(stream)
        self._hooks.output()

    def _reset(self, stream: Http2Stream, error_code: int) -> None:
        if stream.stream_id in self.streams:
            self._h2.reset_stream(stream.stream_id, error_code)
            self._drop(stream, None)
            self._hooks.output()

    # -- what the peer did -----------------------------------------------------------------------

    def _request_received(self, event: h2.events.RequestReceived, body: bytes | None = None) -> None:
        """A request's fields, or with ``body`` a whole request."""
        self.requests += 1
        if self.ending.state is EndingState.FINAL:
            self._h2.reset_stream(event.stream_id, h2.errors.ErrorCodes.REFUSED_STREAM)
            return
        stream = Http2Stream(event.stream_id, self.limits, self._port)
        stream.receive_headers(tuple(event.headers))
        if body is not None:
            stream.receive_data(body)
        if body is not None or event.stream_ended is not None:
            # Before anybody may answer: an answer to an unfinished request is followed by a reset.
            stream.receive_end()
        self.streams[event.stream_id] = stream
        self._hooks.request(stream)
        if self.requests >= self.limits.max_requests:
            self.ending.begin()

    def _headers_received(self, event: h2.events.ResponseReceived | h2.events.TrailersReceived) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is None:
            return
        fields = tuple(event.headers)
        if (problem := check_header_block(fields, self.limits)) is not None:
            stream.reset(h2.errors.ErrorCodes.ENHANCE_YOUR_CALM, problem)
        elif isinstance(event, h2.events.TrailersReceived):
            stream.received_trailers = fields
        else:
            stream.receive_headers(fields)

    def _data_received(self, event: h2.events.DataReceived) -> None:
        size = event.flow_controlled_length
        self._windows.received(size)
        stream = self.streams.get(event.stream_id)
        if stream is not None:
            stream.receive_data(event.data)
            if size > len(event.data):  # padding is nobody's to take
                self._windows.consumed(stream, size - len(event.data))

    def _stream_ended(self, event: h2.events.StreamEnded) -> None:
        stream = self.streams.get(event.stream_id)
        if stream is None:
            return
        if not (self._client_side or is_body_whole(stream.received_headers or (), stream.received_bytes)):
            self.gate.take(FrameKind.RESET, self._now)
            stream.reset(h2.errors.ErrorCodes.PROTOCOL_ERROR, "the body is not as long as announced")
            return
        stream.receive_end()
        if stream.local_sent:
            self._drop(stream, None)

    def _stream_reset(self, event: h2.events.StreamReset) -> None:
        if not event.remote_reset:
            # h2 reset it because of what the peer sent: the same work for us as a reset of theirs, and as
            # good for a flood (CVE-2025-8671).
            self.gate.take(FrameKind.RESET, self._now)
        stream = self.streams.get(event.stream_id)
        if stream is not None:
            self._drop(stream, StreamResetError(int(event.error_code or 0)))

    def _settings_changed(self, event: h2.events.RemoteSettingsChanged) -> None:
        self.settings_received = True
        self._sender.settings_changed(event)

    def _goaway_received(self, goaway: GoAway) -> None:
        self.ending.receive_goaway(goaway)
        if self._client_side:
            lost = Http2ConnectionLostError(self.ending.farewell, unprocessed=True)
            for stream in list(self.streams.values()):
                if stream.stream_id > goaway.last_stream_id:
                    self._drop(stream, lost)
        self._hooks.output()

    # -- inside ----------------------------------------------------------------------------------

    def _local_half_sent(self, stream: Http2Stream) -> None:
        stream.local_sent = True
        if not stream.remote_ended and not self._client_side:
            # An answer before the whole request was read: tell the client to stop (RFC 9113 section 8.1).
            self._h2.reset_stream(stream.stream_id, h2.errors.ErrorCodes.NO_ERROR)
            stream.receive_end()
        if stream.remote_ended:
            self._drop(stream, None)

    def _drop(self, stream: Http2Stream, failure: Http2Error | None) -> None:
        stream.dropped = True
        self.streams.pop(stream.stream_id, None)
        self._sender.forget(stream)
        if failure is not None:
            stream.fail(failure)
        self._hooks.stream_end(stream)

    def _flush_h2(self) -> int:
        data = self._h2.data_to_send()
        self._output += data
        return len(data)

    def _write(self, data: bytes) -> None:
        self._flush_h2()
        self._output += data
        self._hooks.output()
