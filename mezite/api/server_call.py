# SPDX-License-Identifier: Apache-2.0
"""One call on the server: messages between the HTTP/2 stream and the handler."""

from __future__ import annotations

import math
from typing import Any

import attrs
import trio
from google.protobuf.message import DecodeError, Message

from mezite.api.rpc import CallContext, RpcError, RpcMethod, encode_details, retry_pushback
from mezite.core.errors import LocalProtocolError, RemoteProtocolError
from mezite.core.grpc.call_state import CallRole, CallShape, GrpcCall, MessageReceived, RequestEnded
from mezite.core.grpc.metadata import MetadataItem
from mezite.core.grpc.status import Status, StatusCode
from mezite.core.mux.events import NeedData
from mezite.net.http2_stream import Http2Stream

__all__ = ["RequestStream", "ResponseStream", "ServerCall"]

FIRST_MESSAGE_SECONDS = 10.0
"""For the one message of a unary request to come, and a second more for each KiB of it that has: slower is an
attack on our slots rather than a bad line (threat D14)."""
SLOWEST_BYTES_PER_SECOND = 1024


@attrs.define(eq=False)
class ServerCall:
    """Reads and writes one call. ``receive_headers`` of ``grpc`` was called before."""

    method: RpcMethod
    stream: Http2Stream
    grpc: GrpcCall = attrs.field(init=False)
    context: CallContext | None = None
    _responded: bool = attrs.field(default=False, init=False)
    _fed: int = attrs.field(default=0, init=False)

    def __attrs_post_init__(self) -> None:
        kind = self.method.kind
        shape = CallShape(
            request_streaming=kind.streams_requests,
            response_streaming=kind.streams_responses,
            max_request_bytes=self.method.max_request_bytes,
        )
        self.grpc = GrpcCall(CallRole.SERVER, shape)

    async def receive_message(self, deadline: float = math.inf) -> Message | None:
        """The next request message; None when the client has ended its half.

        The deadline moves with each KiB that arrives. Raises RpcError for a malformed request, a message
        above the limit, or one that comes too slowly.
        """
        before = self._fed
        event = self._next_at_hand()
        if isinstance(event, NeedData):
            with trio.CancelScope() as scope:
                while isinstance(event, NeedData):
                    scope.deadline = deadline + (self._fed - before) / SLOWEST_BYTES_PER_SECOND
                    self._feed(await self.stream.receive_some())
                    event = self._next_at_hand()
            if scope.cancelled_caught:
                raise RpcError(StatusCode.DEADLINE_EXCEEDED, "the request came too slowly")
        return self._parse(event.data) if isinstance(event, MessageReceived) else None

    def _next_at_hand(self) -> MessageReceived | RequestEnded | NeedData:
        """Without waiting: most requests arrive in one piece, and a deadline for what is here costs more than it."""
        while True:
            try:
                event = self.grpc.next_event()
            except RemoteProtocolError as error:
                raise RpcError(StatusCode(error.code), str(error)) from error
            if isinstance(event, MessageReceived | RequestEnded):
                return event
            if isinstance(event, NeedData):
                data = self.stream.receive_nowait()
                if data is None:
                    return event
                self._feed(data)

    async def receive_only_message(self) -> Message:
        """The message of a request that holds just one, once the request has ended."""
        message = await self.receive_message(trio.current_time() + FIRST_MESSAGE_SECONDS)
        end_by = trio.current_time() + FIRST_MESSAGE_SECONDS
        if message is None or await self.receive_message(end_by) is not None:
            raise RpcError(StatusCode.INTERNAL, "the request does not hold one message")
        return message

    async def send_message(self, message: Message) -> None:
        """Send one response message, with the response's fields before the first."""
        if not isinstance(message, self.method.response_type):
            raise TypeError(f"{self.method.path} answers with {self.method.response_type.__name__}")
        framed = self._frame(message.SerializeToString())
        await self.stream.send_data(framed)

    def send_status(self, status: Status, metadata: list[MetadataItem] | None = None) -> None:
        """End the call."""
        metadata = list(metadata or ())
        try:
            fields = self.grpc.send_status(status, metadata)
        except LocalProtocolError:
            # The metadata cannot be sent; the status still can.
            fields = self.grpc.send_status(status)
        if self._responded:
            self.stream.end(fields)
        else:
            self.stream.send_headers(fields, end_stream=True)

    def send_error(self, error: RpcError) -> None:
        """End the call with that error."""
        trailing = [] if self.context is None else self.context.trailing_metadata
        self.send_status(
            Status(error.status, error.message),
            [*trailing, *retry_pushback(error.details), *encode_details(error.details)],
        )

    def _feed(self, data: bytes) -> None:
        self._fed += len(data)
        if data:
            self.grpc.receive_data(data)
        else:
            self.grpc.receive_eof()

    def _parse(self, data: bytes) -> Message:
        try:
            return self.method.request_type.FromString(data)
        except DecodeError as error:
            text = f"the request is not a {self.method.request_type.DESCRIPTOR.full_name}"
            raise RpcError(StatusCode.INVALID_ARGUMENT, text) from error

    def _frame(self, data: bytes) -> bytes:
        if not self._responded:
            fields = self.grpc.send_response(() if self.context is None else self.context.response_metadata)
            self.stream.send_headers(fields)
            self._responded = True
        return self.grpc.send_message(data)


@attrs.define(eq=False)
class RequestStream:
    """The request messages of a streaming call; iterate over it once."""

    _call: ServerCall

    def __aiter__(self) -> RequestStream:
        return self

    async def __anext__(self) -> Any:
        message = await self._call.receive_message()
        if message is None:
            raise StopAsyncIteration
        return message


@attrs.define(eq=False)
class ResponseStream:
    """Where the handler of a streaming call puts its answers."""

    _call: ServerCall

    async def send(self, message: Message) -> None:
        """Send one message; waits while 256 KiB are unsent.

        Raises an Http2Error when the call is over. Cancelling it ends the call.
        """
        await self._call.send_message(message)
