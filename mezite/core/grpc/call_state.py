# SPDX-License-Identifier: Apache-2.0
"""The life of one call, either side, on top of HTTP/2 events.

A call is two halves. The request half is headers, messages, end. The response half is headers, messages,
and trailers with the status; or the trailers alone. Each half walks the same three states by one table; the
halves do not depend on each other, so a server may answer before the request has ended.
"""

from __future__ import annotations

import enum
import re
from collections import deque
from collections.abc import Iterable

import attrs

from mezite.core.errors import LocalProtocolError, RemoteProtocolError
from mezite.core.grpc.call_half import CallHalf, HalfInput, HalfState
from mezite.core.grpc.message_framing import (
    MAX_MESSAGE_BYTES,
    EndOfMessages,
    Message,
    MessageReader,
    frame_message,
)
from mezite.core.grpc.metadata import Metadata, MetadataItem, decode_metadata, encode_metadata
from mezite.core.grpc.status import (
    Header,
    Status,
    StatusCode,
    status_from_http_status,
    status_from_reset,
    status_from_trailers,
    status_trailers,
)
from mezite.core.grpc.timeout import format_timeout, parse_timeout
from mezite.core.mux.events import NEED_DATA, NeedData

__all__ = [
    "CallEnded",
    "CallEvent",
    "CallRole",
    "CallShape",
    "CallStarted",
    "CallTarget",
    "GrpcCall",
    "MessageReceived",
    "RequestEnded",
    "ResponseStarted",
    "is_grpc_content_type",
]

CONTENT_TYPE = b"application/grpc"
_CONTENT_TYPES = re.compile(rb"application/grpc(\+proto)?( *;.*)?")


class CallRole(enum.Enum):
    """Which side of the call this object plays."""

    CLIENT = "client"
    SERVER = "server"


@attrs.frozen(kw_only=True)
class CallShape:
    """How many messages each half holds, and how long one may be."""

    request_streaming: bool = False
    """False: exactly one request message."""
    response_streaming: bool = False
    """False: exactly one response message when the status is OK."""
    max_request_bytes: int = MAX_MESSAGE_BYTES
    max_response_bytes: int = MAX_MESSAGE_BYTES


@attrs.frozen(kw_only=True)
class CallTarget:
    """Where a client's call goes."""

    path: str
    """``/package.Service/Method``."""
    authority: str
    scheme: str = "https"
    user_agent: str = ""
    """Left out when empty."""


@attrs.frozen
class CallStarted:
    """Server: the request's headers."""

    metadata: Metadata
    timeout: float | None
    """Seconds the client still waits; None: for ever."""


@attrs.frozen
class ResponseStarted:
    """Client: the response's headers."""

    metadata: Metadata


@attrs.frozen
class MessageReceived:
    """One message, serialized."""

    data: bytes


@attrs.frozen
class RequestEnded:
    """Server: the client will send no further message. Repeats until the call ends."""


@attrs.frozen
class CallEnded:
    """Client: the status arrived, or either side: the call was reset. Terminal, repeats."""

    status: Status
    metadata: Metadata = attrs.field(factory=Metadata)
    """What came with the status."""


CallEvent = CallStarted | ResponseStarted | MessageReceived | RequestEnded | CallEnded


def is_grpc_content_type(value: bytes | None) -> bool:
    """Whether this ``content-type`` announces protobuf messages: no suffix or ``+proto``, any parameters."""
    return value is not None and _CONTENT_TYPES.fullmatch(value) is not None


@attrs.define(eq=False)
class GrpcCall:
    """One call: HTTP/2 events of its stream in, gRPC events out; and the fields and bytes to send.

    ``receive_*`` never raises for what the peer did: the fault waits in its place in the order, and
    ``next_event`` raises it (RemoteProtocolError whose code is a StatusCode), again and again. ``send_*``
    raise LocalProtocolError when our side breaks the order, and change nothing then.
    """

    role: CallRole
    shape: CallShape = attrs.field(factory=CallShape)
    _sending: CallHalf = attrs.field(init=False)
    _receiving: CallHalf = attrs.field(init=False)
    _reader: MessageReader = attrs.field(init=False)
    _events: deque[CallEvent] = attrs.field(factory=deque, init=False)
    _ended: CallEnded | None = attrs.field(default=None, init=False)
    _error: RemoteProtocolError | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        server = self.role is CallRole.SERVER
        request = CallHalf(not server, self.shape.request_streaming, self.shape.max_request_bytes)
        response = CallHalf(server, self.shape.response_streaming, self.shape.max_response_bytes)
        self._receiving, self._sending = (request, response) if server else (response, request)
        self._reader = MessageReader(self._receiving.max_message_bytes)

    # -- what arrived ------------------------------------------------------------------------------

    def receive_headers(self, headers: Iterable[Header], *, end_stream: bool = False) -> None:
        """The first block of fields. For a client with ``end_stream`` it is the status alone
        ("Trailers-Only").
        """
        fields = list(headers)
        try:
            if self.role is CallRole.SERVER:
                self._receive_request(fields)
            elif end_stream:
                self._receive_status(fields)
            else:
                self._receive_response(fields)
        except RemoteProtocolError as error:
            self._fail(error)

    def receive_data(self, data: bytes) -> None:
        """Bytes of messages."""
        if self._receiving.state is HalfState.OPEN:
            self._reader.receive_data(data)
            self._drain_reader()
        elif self._ended is None:
            self._fail(RemoteProtocolError("data outside the message part of a call", StatusCode.INTERNAL))

    def receive_eof(self) -> None:
        """The peer ended its half without trailers: right for a request, a fault in a response."""
        if self._receiving.state is not HalfState.OPEN:
            return
        self._receiving.advance(HalfInput.END)
        self._reader.receive_eof()
        self._drain_reader()
        if self.role is CallRole.CLIENT:
            self._fail(RemoteProtocolError("the response ended without a status", StatusCode.INTERNAL))

    def receive_trailers(self, headers: Iterable[Header]) -> None:
        """The last block of fields. A request's trailers mean nothing in gRPC and count as its end."""
        if self.role is CallRole.SERVER:
            self.receive_eof()
            return
        try:
            self._receive_status(list(headers))
        except RemoteProtocolError as error:
            self._fail(error)

    def receive_reset(self, error_code: int) -> None:
        """RST_STREAM with that HTTP/2 code. Nothing after a status that already arrived."""
        self._sending.state = HalfState.CLOSED
        self._end(CallEnded(status_from_reset(error_code)))

    def next_event(self) -> CallEvent | NeedData:
        """The next event in order; RequestEnded and CallEnded repeat; NEED_DATA when the peer has to say
        more.

        Raises RemoteProtocolError for the peer's fault, after all events before it.
        """
        if self._events:
            return self._events.popleft()
        if self._error is not None:
            raise RemoteProtocolError(str(self._error), self._error.code)
        if self._ended is not None:
            return self._ended
        if self._receiving.state is HalfState.CLOSED:
            return RequestEnded()
        return NEED_DATA

    # -- what to send ------------------------------------------------------------------------------

    def send_request(
        self, target: CallTarget, metadata: Iterable[MetadataItem] = (), *, timeout: float | None = None
    ) -> list[Header]:
        """The fields that open a client's call; ``timeout`` is in seconds."""
        fields: list[Header] = [
            (b":method", b"POST"),
            (b":scheme", target.scheme.encode("ascii")),
            (b":path", target.path.encode("ascii")),
            (b":authority", target.authority.encode("ascii")),
            (b"te", b"trailers"),
            (b"content-type", CONTENT_TYPE),
        ]
        if timeout is not None:
            fields.append((b"grpc-timeout", format_timeout(timeout)))
        if target.user_agent:
            fields.append((b"user-agent", target.user_agent.encode("ascii")))
        fields += encode_metadata(metadata)
        self._sending.advance(HalfInput.HEADERS)
        return fields

    def send_response(self, metadata: Iterable[MetadataItem] = ()) -> list[Header]:
        """The fields that open a server's response."""
        fields = [(b":status", b"200"), (b"content-type", CONTENT_TYPE), *encode_metadata(metadata)]
        self._sending.advance(HalfInput.HEADERS)
        return fields

    def send_message(self, data: bytes) -> bytes:
        """One message, framed."""
        framed = frame_message(data, self._sending.max_message_bytes)
        self._sending.advance(HalfInput.MESSAGE)
        return framed

    def send_request_end(self) -> None:
        """Client: no further message."""
        if self._sending.state is HalfState.IDLE:
            raise LocalProtocolError("the request was not opened")
        self._sending.advance(HalfInput.END)

    def send_status(self, status: Status, metadata: Iterable[MetadataItem] = ()) -> list[Header]:
        """Server: the fields that end the call, with those of a response before them when none was opened."""
        fields = status_trailers(status) + encode_metadata(metadata)
        if self._sending.state is HalfState.IDLE:
            fields = [(b":status", b"200"), (b"content-type", CONTENT_TYPE), *fields]
        self._sending.advance(HalfInput.END)
        return fields

    # -- inside ------------------------------------------------------------------------------------

    def _receive_request(self, fields: list[Header]) -> None:
        self._receiving.advance(HalfInput.HEADERS)
        named = dict(fields)
        if named.get(b"grpc-encoding", b"identity") != b"identity":
            raise RemoteProtocolError("compressed messages are not supported", StatusCode.UNIMPLEMENTED)
        raw_timeout = named.get(b"grpc-timeout")
        timeout = None if raw_timeout is None else parse_timeout(raw_timeout)
        self._events.append(CallStarted(decode_metadata(fields), timeout))

    def _receive_response(self, fields: list[Header]) -> None:
        self._receiving.advance(HalfInput.HEADERS)
        named = dict(fields)
        http_status = named.get(b":status", b"")
        if http_status != b"200":
            self._end(CallEnded(status_from_http_status(http_status)))
        elif not is_grpc_content_type(named.get(b"content-type")):
            raise RemoteProtocolError("the answer is not gRPC", StatusCode.UNKNOWN)
        else:
            self._events.append(ResponseStarted(decode_metadata(fields)))

    def _receive_status(self, fields: list[Header]) -> None:
        if self._ended is not None:
            return
        self._receiving.advance(HalfInput.END)
        self._reader.receive_eof()
        self._drain_reader()
        status = status_from_trailers(fields)
        http_status = dict(fields).get(b":status", b"200")
        if status is None:
            known = http_status != b"200"
            unknown = Status(StatusCode.UNKNOWN, "the response ended without a status")
            status = status_from_http_status(http_status) if known else unknown
        self._end(CallEnded(status, decode_metadata(fields)))

    def _drain_reader(self) -> None:
        try:
            while isinstance(event := self._reader.next_event(), Message):
                self._receiving.advance(HalfInput.MESSAGE)
                self._events.append(MessageReceived(event.data))
            if isinstance(event, EndOfMessages) and self.role is CallRole.SERVER:
                self._receiving.require_message()
        except RemoteProtocolError as error:
            self._fail(error)

    def _end(self, ended: CallEnded) -> None:
        if self._ended is not None or self._error is not None:
            return
        self._receiving.state = HalfState.CLOSED
        if self.role is CallRole.CLIENT and ended.status.code is StatusCode.OK:
            self._receiving.require_message()
        self._ended = ended

    def _fail(self, error: RemoteProtocolError) -> None:
        if self._error is None and self._ended is None:
            self._error = error
