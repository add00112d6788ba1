# SPDX-License-Identifier: Apache-2.0
"""The gRPC server: method path to handler, behind one authentication and one authorization."""

from __future__ import annotations

import logging
import math
import secrets
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import attrs
import trio

from mezite.api.rpc import CallContext, CallKind, PeerInfo, RpcError, RpcMethod, StatusCode
from mezite.api.server_call import RequestStream, ResponseStream, ServerCall
from mezite.core.errors import RemoteProtocolError
from mezite.core.grpc.call_state import CallRole, CallStarted, GrpcCall, is_grpc_content_type
from mezite.core.grpc.status import Status
from mezite.core.h2c import UpgradeRequest
from mezite.net.http2_limits import Http2Limits
from mezite.net.http2_request import RequestHead
from mezite.net.http2_server import Http2ServerConnection
from mezite.net.http2_stream import Http2Error, Http2Stream

__all__ = [
    "AdmitStranger",
    "Authenticate",
    "Authorize",
    "CallContext",
    "CallKind",
    "ClientOf",
    "GrpcServer",
    "PeerInfo",
    "RequestStream",
    "ResponseStream",
    "RpcError",
    "RpcMethod",
    "StatusCode",
]

logger = logging.getLogger("mezite.api")

Authenticate = Callable[[CallContext], Awaitable[Any | None]]
"""Who calls, from metadata and peer: an identity, or None for nobody. May raise RpcError."""
Authorize = Callable[[Any, RpcMethod, CallContext], Awaitable[None]]
"""Whether that identity may call that method: returns, or raises RpcError (PERMISSION_DENIED)."""

LONGEST_UNARY_SECONDS = 120.0
"""A unary call ends by then, whatever deadline its client wished for: it holds one of the connection's
slots.
"""
LONGEST_PUBLIC_SECONDS = 600.0
"""A streaming call without a credential ends by then; those who watch health call again."""


AdmitStranger = Callable[[CallContext], None]
"""Whether a call to a public method may go on: returns, or raises RpcError (RESOURCE_EXHAUSTED)."""
ClientOf = Callable[[str, RequestHead], str]
"""The client's ``ip:port``, from the peer's and the fields of a request: behind a balancer that writes a header."""


class GrpcServer:
    """Serves the methods it was made with, and nothing else, on any number of connections."""

    def __init__(
        self,
        methods: Iterable[RpcMethod],
        *,
        authenticate: Authenticate,
        authorize: Authorize,
        admit_stranger: AdmitStranger = lambda _context: None,
        limits: Http2Limits | None = None,
    ) -> None:
        table: dict[str, RpcMethod] = {}
        for method in methods:
            if method.path in table:
                raise ValueError(f"{method.path} is registered twice")
            table[method.path] = method
        self.methods: Mapping[str, RpcMethod] = MappingProxyType(table)
        """By path; what a test walks to see that each has its check."""
        self._authenticate = authenticate
        self._authorize = authorize
        self._admit_stranger = admit_stranger
        self._limits = limits
        self._connections: set[Http2ServerConnection] = set()
        self._draining = False

    async def serve_connection(
        self,
        stream: trio.abc.Stream,
        peer: PeerInfo,
        upgrade: UpgradeRequest | None = None,
        *,
        client_of: ClientOf | None = None,
    ) -> None:
        """Serve one connection until it ends; closes the stream. ``upgrade`` is its first call, if it began in
        HTTP/1.1.

        `client_of` is asked for each call, since a balancer sends those of many clients on one connection.
        Never raises for what the client, the network or a handler did. Cancelling cuts the connection.
        """

        async def handle(head: RequestHead, http_stream: Http2Stream) -> None:
            caller = peer
            if client_of is not None:
                caller = attrs.evolve(peer, client_address=client_of(peer.client_address, head))
            await self._handle(caller, head, http_stream)

        limits = self._limits or Http2Limits()
        if peer.agent is not None:
            # Proven already: it may well wait for its first call.
            limits = attrs.evolve(limits, first_request=limits.idle)
        connection = Http2ServerConnection(stream, handle, limits, upgrade=upgrade)
        self._connections.add(connection)
        try:
            if self._draining:
                connection.drain()
            await connection.run()
        finally:
            self._connections.discard(connection)

    def drain(self) -> None:
        """End all connections gracefully: calls that are here or on their way are served."""
        self._draining = True
        for connection in self._connections:
            connection.drain()

    async def _handle(self, peer: PeerInfo, head: RequestHead, stream: Http2Stream) -> None:
        if head.method != "POST":
            stream.send_headers([(b":status", b"405"), (b"allow", b"POST")], end_stream=True)
            return
        if not is_grpc_content_type(head.get(b"content-type")):
            stream.send_headers([(b":status", b"415")], end_stream=True)
            return
        method = None if head.query else self.methods.get(head.path)
        if method is None:
            status = Status(StatusCode.UNIMPLEMENTED, f"unknown method {head.path}")
            stream.send_headers(GrpcCall(CallRole.SERVER).send_status(status), end_stream=True)
            return
        call = ServerCall(method, stream)
        try:
            await self._run_call(call, peer, head)
        except Http2Error:
            # The client or the connection has gone: nobody is left to tell.
            stream.reset(0x8)

    async def _run_call(self, call: ServerCall, peer: PeerInfo, head: RequestHead) -> None:
        try:
            context = self._open(call, peer, head)
            with trio.CancelScope(deadline=_scope_deadline(context)) as scope:
                await self._admit(context)
                await _invoke(call, context)
            if scope.cancelled_caught:
                raise RpcError(StatusCode.DEADLINE_EXCEEDED, "the call took longer than its deadline")
        except RpcError as error:
            call.send_error(error)
        except Http2Error:
            raise
        except Exception as error:  # noqa: BLE001 - logged with its traceback in _public_error
            call.send_error(_public_error(error, call.method))

    def _open(self, call: ServerCall, peer: PeerInfo, head: RequestHead) -> CallContext:
        call.grpc.receive_headers(head.fields)
        try:
            started = call.grpc.next_event()
        except RemoteProtocolError as error:
            raise RpcError(StatusCode(error.code), str(error)) from error
        if not isinstance(started, CallStarted):
            raise TypeError(f"a call began with {started}")
        deadline = None if started.timeout is None else trio.current_time() + started.timeout
        call.context = CallContext(
            method=call.method, metadata=started.metadata, peer=peer, deadline=deadline
        )
        return call.context

    async def _admit(self, context: CallContext) -> None:
        """Before a byte of the request is read, so that strangers cost no memory."""
        if context.method.public:
            self._admit_stranger(context)
            return
        context.identity = await self._authenticate(context)
        if context.identity is None:
            raise RpcError(StatusCode.UNAUTHENTICATED, "this call needs a valid credential")
        await self._authorize(context.identity, context.method, context)


def _scope_deadline(context: CallContext) -> float:
    longest = math.inf
    if context.method.kind is CallKind.UNARY:
        longest = LONGEST_UNARY_SECONDS
    elif context.method.public:
        longest = LONGEST_PUBLIC_SECONDS
    wished = math.inf if context.deadline is None else context.deadline
    return min(wished, trio.current_time() + longest)


async def _invoke(call: ServerCall, context: CallContext) -> None:
    method = call.method
    requests = RequestStream(call) if method.kind.streams_requests else await call.receive_only_message()
    if method.kind.streams_responses:
        await method.handler(requests, context, ResponseStream(call))
    else:
        await call.send_message(await method.handler(requests, context))
    call.send_status(Status(StatusCode.OK), context.trailing_metadata)


def _public_error(error: Exception, method: RpcMethod) -> RpcError:
    """What the client learns of an exception.

    An RpcError raised inside nurseries is still one; anything else is an id to look up in the log.
    """
    inner: BaseException = error
    while isinstance(inner, BaseExceptionGroup) and len(inner.exceptions) == 1:
        inner = inner.exceptions[0]
    if isinstance(inner, RpcError):
        return inner
    correlation_id = secrets.token_hex(8)
    logger.error("%s failed, correlation id %s", method.path, correlation_id, exc_info=error)
    return RpcError(
        StatusCode.INTERNAL,
        f"internal error, correlation id {correlation_id}",
        {"correlation_id": correlation_id},
    )
