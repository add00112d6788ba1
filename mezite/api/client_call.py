# SPDX-License-Identifier: Apache-2.0
"""One call on the client."""

from __future__ import annotations

import contextlib
from typing import Generic, TypeVar

import attrs
from google.protobuf.message import DecodeError, Message

from mezite.api.rpc import RpcError, decode_details
from mezite.core.errors import RemoteProtocolError
from mezite.core.grpc.call_state import CallEnded, GrpcCall, MessageReceived, ResponseStarted
from mezite.core.grpc.metadata import Metadata
from mezite.core.grpc.status import StatusCode
from mezite.core.mux.events import NeedData
from mezite.net.http2_stream import Http2ConnectionLostError, Http2Stream, StreamResetError

__all__ = ["ClientCall"]

CANCEL = 0x8
ResponseT = TypeVar("ResponseT", bound=Message)


@attrs.define(eq=False)
class ClientCall(Generic[ResponseT]):
    """A call that is open: send requests, receive responses, in two tasks or in turn."""

    stream: Http2Stream
    grpc: GrpcCall
    response_type: type[ResponseT]
    metadata: Metadata | None = None
    """What came ahead of the first response; None before."""
    trailing_metadata: Metadata | None = None
    """What came with the status; None before."""
    _headers_fed: bool = attrs.field(default=False, init=False)

    async def send(self, message: Message) -> None:
        """Send one request message; waits while 256 KiB are unsent.

        When the call has ended meanwhile nothing happens: :meth:`receive` tells how.
        """
        if self.stream.failure is None:
            framed = self.grpc.send_message(message.SerializeToString())
            with contextlib.suppress(StreamResetError, Http2ConnectionLostError):
                await self.stream.send_data(framed)

    def end_requests(self) -> None:
        """No further request message."""
        if self.stream.failure is None:
            self.grpc.send_request_end()
            self.stream.end()

    async def receive(self) -> ResponseT | None:
        """The next response message; None when the call has ended with OK.

        Raises RpcError for any other status, UNAVAILABLE when the connection was lost.
        """
        while True:
            try:
                event = self.grpc.next_event()
            except RemoteProtocolError as error:
                self.cancel()
                raise RpcError(StatusCode(error.code), str(error)) from error
            match event:
                case MessageReceived(data):
                    return self._parse(data)
                case ResponseStarted(metadata):
                    self.metadata = metadata
                case CallEnded(status, metadata):
                    self.trailing_metadata = metadata
                    if status.code is StatusCode.OK:
                        return None
                    raise RpcError(status.code, status.message, decode_details(metadata))
                case NeedData():
                    await self._feed()

    def __aiter__(self) -> ClientCall[ResponseT]:
        return self

    async def __anext__(self) -> ResponseT:
        message = await self.receive()
        if message is None:
            raise StopAsyncIteration
        return message

    def cancel(self) -> None:
        """Give the call up; the server's handler is cancelled. Nothing when it has ended."""
        if not (self.stream.remote_ended and self.stream.local_ended):
            self.stream.reset(CANCEL)

    async def _feed(self) -> None:
        stream = self.stream
        try:
            if not self._headers_fed:
                fields = await stream.wait_headers()
                self._headers_fed = True
                self.grpc.receive_headers(fields, end_stream=stream.ended_with_headers)
                return
            data = await stream.receive_some()
        except StreamResetError as error:
            self.grpc.receive_reset(error.error_code)
        except Http2ConnectionLostError as error:
            text = f"the connection to the server is lost: {error}"
            raise RpcError(StatusCode.UNAVAILABLE, text) from error
        else:
            if data:
                self.grpc.receive_data(data)
            elif stream.received_trailers is None:
                self.grpc.receive_eof()
            else:
                self.grpc.receive_trailers(stream.received_trailers)

    def _parse(self, data: bytes) -> ResponseT:
        try:
            return self.response_type.FromString(data)
        except DecodeError as error:
            self.cancel()
            name = self.response_type.DESCRIPTOR.full_name
            raise RpcError(StatusCode.INTERNAL, f"the answer is not a {name}") from error
