# SPDX-License-Identifier: Apache-2.0
"""The gRPC client, on any Trio stream."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Any, TypeVar, overload

import attrs
import trio
from google.protobuf.message import Message

from mezite.api.client_call import ClientCall
from mezite.api.rpc import CallKind, MethodRef, RpcError, StatusCode
from mezite.core.grpc.call_state import CallRole, CallShape, CallTarget, GrpcCall
from mezite.core.grpc.metadata import MetadataItem
from mezite.net.http2_client import DEFAULT_CLIENT_LIMITS, Http2ClientConnection
from mezite.net.http2_limits import Http2Limits
from mezite.net.http2_stream import Http2ConnectionLostError

__all__ = [
    "ApiClient",
    "CallKind",
    "ClientCall",
    "ClientOptions",
    "MethodRef",
    "RpcError",
    "StatusCode",
    "open_api_client",
]

DEFAULT_DEADLINE = 30.0
"""Seconds for a unary call: longer than a login with its slow hash on a busy hub, short for a person."""

RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)


@attrs.frozen(kw_only=True)
class ClientOptions:
    """What every call of a client has in common."""

    authority: str
    """``host`` or ``host:port`` of the server, for balancers and virtual hosts."""
    scheme: str = "https"
    token: str | None = attrs.field(default=None, repr=False)
    """Sent as ``authorization: Bearer``."""
    user_agent: str = "mezite"


class ApiClient:
    """Calls over one connection. It does not reconnect: see :attr:`is_usable`."""

    def __init__(self, connection: Http2ClientConnection, options: ClientOptions) -> None:
        self._connection = connection
        self._options = options

    @property
    def is_usable(self) -> bool:
        """Whether another call may be made: the connection is neither lost nor told to go away."""
        return self._connection.is_usable

    @overload
    async def unary(
        self,
        method: MethodRef[RequestT, ResponseT],
        request: RequestT,
        *,
        deadline: float | None = ...,
        metadata: Iterable[MetadataItem] = ...,
    ) -> ResponseT: ...

    @overload
    async def unary(
        self,
        method: str,
        request: Message,
        response_type: type[ResponseT],
        *,
        deadline: float | None = ...,
        metadata: Iterable[MetadataItem] = ...,
    ) -> ResponseT: ...

    async def unary(
        self,
        method: str | MethodRef[Any, ResponseT],
        request: Message,
        response_type: type[ResponseT] | None = None,
        *,
        deadline: float | None = DEFAULT_DEADLINE,
        metadata: Iterable[MetadataItem] = (),
    ) -> ResponseT:
        """One request, one response. ``deadline`` is in seconds from now; None waits for ever.

        Raises RpcError: whatever the server answered, DEADLINE_EXCEEDED, or UNAVAILABLE when the connection
        takes no call any more or was lost. Cancelling cancels the call at the server.
        """
        path, response_class = _target(method, response_type)
        opened = self.open_call(path, response_class, CallKind.UNARY, deadline=deadline, metadata=metadata)
        async with opened as call:
            await call.send(request)
            call.end_requests()
            response = await call.receive()
            if response is None or await call.receive() is not None:
                raise RpcError(StatusCode.INTERNAL, "the answer does not hold one message")
            return response
        raise AssertionError("open_call swallows nothing")

    @contextlib.asynccontextmanager
    async def server_stream(
        self,
        method: str | MethodRef[Any, ResponseT],
        request: Message,
        response_type: type[ResponseT] | None = None,
        *,
        deadline: float | None = None,
        metadata: Iterable[MetadataItem] = (),
    ) -> AsyncIterator[ClientCall[ResponseT]]:
        """One request, many responses: iterate over what it yields. Leaving the block early cancels the call.

        Raises RpcError as :meth:`unary`; the block is cancelled when the deadline passes.
        """
        path, response_class = _target(method, response_type)
        opened = self.open_call(
            path, response_class, CallKind.SERVER_STREAM, deadline=deadline, metadata=metadata
        )
        async with opened as call:
            await call.send(request)
            call.end_requests()
            yield call

    @contextlib.asynccontextmanager
    async def open_call(
        self,
        path: str,
        response_type: type[ResponseT],
        kind: CallKind = CallKind.BIDI,
        *,
        deadline: float | None = None,
        metadata: Iterable[MetadataItem] = (),
    ) -> AsyncIterator[ClientCall[ResponseT]]:
        """A call of any kind, to be sent to and received from. Leaving the block early cancels the call.

        Raises RpcError as :meth:`unary`.
        """
        limit = trio.CancelScope() if deadline is None else trio.move_on_after(deadline)
        call: ClientCall[ResponseT] | None = None
        with limit:
            call = await self._open(path, response_type, kind, deadline, metadata)
            try:
                yield call
            finally:
                call.cancel()
        if limit.cancelled_caught:
            raise RpcError(StatusCode.DEADLINE_EXCEEDED, f"no answer within {deadline:g} s")

    async def _open(
        self,
        path: str,
        response_type: type[ResponseT],
        kind: CallKind,
        deadline: float | None,
        metadata: Iterable[MetadataItem],
    ) -> ClientCall[ResponseT]:
        shape = CallShape(request_streaming=kind.streams_requests, response_streaming=kind.streams_responses)
        grpc = GrpcCall(CallRole.CLIENT, shape)
        options = self._options
        target = CallTarget(
            path=path, authority=options.authority, scheme=options.scheme, user_agent=options.user_agent
        )
        own: list[MetadataItem] = []
        if options.token is not None:
            own.append(("authorization", f"Bearer {options.token}"))
        fields = grpc.send_request(target, [*own, *metadata], timeout=deadline)
        try:
            stream = await self._connection.open_stream(fields)
        except Http2ConnectionLostError as error:
            text = f"the connection takes no calls: {error}"
            raise RpcError(StatusCode.UNAVAILABLE, text) from error
        return ClientCall(stream, grpc, response_type)


def _target(
    method: str | MethodRef[Any, ResponseT], response_type: type[ResponseT] | None
) -> tuple[str, type[ResponseT]]:
    if isinstance(method, MethodRef):
        return method.path, method.response_type
    if response_type is None:
        raise TypeError("a method given by its path needs the response type")
    return method, response_type


@contextlib.asynccontextmanager
async def open_api_client(
    stream: trio.abc.Stream, options: ClientOptions, limits: Http2Limits = DEFAULT_CLIENT_LIMITS
) -> AsyncIterator[ApiClient]:
    """A client on a stream that is connected (and its TLS handshake done), which it owns and closes.

    What the block raises comes out as it is, not in a group.
    """
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        connection = Http2ClientConnection(stream, limits)
        await nursery.start(connection.run)
        try:
            yield ApiClient(connection, options)
        except Exception as error:  # noqa: BLE001 - raised again outside the nursery
            failure = error
        connection.close()
        nursery.cancel_scope.deadline = trio.current_time() + limits.closing
    if failure is not None:
        raise failure
