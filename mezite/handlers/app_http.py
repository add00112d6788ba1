# SPDX-License-Identifier: Apache-2.0
"""The way of a signed-in user's request to an application, through one of its agents, and back.

Who may use the application was decided before (the gate). Here the request gets its fields, a connection, and, where
that ends badly, an answer that says which hop failed. Whatever happens, one record is left.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Protocol

import attrs
import trio

from mezite.core.apps.app import App
from mezite.core.assertion.signer import AssertionTooLongError
from mezite.core.http1.upstream_fields import (
    Field,
    FieldRules,
    Framing,
    Origins,
    UpstreamRequest,
    request_fields,
)
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.trace_context import FRESH_BYTES, TraceContext, trace_of
from mezite.handlers.app_exchange import (
    AppCall,
    AppExchange,
    BodyTooLargeError,
    ExchangeTimes,
    Progress,
    UpstreamSilentError,
)
from mezite.handlers.app_websocket import AppWebSocket
from mezite.net.addresses import join_host_port
from mezite.net.app_upstream import UpstreamConnection, UpstreamError
from mezite.net.app_upstream_opening import UpstreamOpener
from mezite.net.app_upstream_pool import UpstreamPool, close_all
from mezite.net.asgi_answer import answer
from mezite.net.asgi_types import Receive, Scope, Send
from mezite.net.byte_streams import abort_stream
from mezite.net.http1_request import REQUEST, RequestFacts
from mezite.services.apps.dialing import AppConnection, AppUnreachableError
from mezite.services.apps.request_log import AppRequest
from mezite.services.identity.identities import UserIdentity
from mezite.services.sources import Sources
from mezite.storage.errors import StorageError

__all__ = ["AppProxy", "OpenApp"]

MAX_ATTEMPTS = 3
"""Connections tried for one request: one that had waited and has just ended, a new one, and one more agent."""


class OpenApp(Protocol):
    """`AppDialer.open`."""

    async def __call__(
        self, app: App, *, user: str = "", client_address: str = "", trace_id: str = ""
    ) -> AppConnection:
        """Connect to the application's server. :raises AppUnreachableError: it cannot be reached."""
        ...


@attrs.define(eq=False, kw_only=True)
class AppProxy:
    """Forwards requests to the applications of one hub. `run` must be running."""

    open: OpenApp
    identity_fields: Callable[[App, UserIdentity], Sequence[Field]]
    """Who asks, for the application: an assertion and the same in plain fields."""
    record: Callable[[AppRequest], Awaitable[None]]
    sources: Sources
    times: ExchangeTimes = attrs.field(factory=ExchangeTimes)
    pool: UpstreamPool = attrs.field(factory=UpstreamPool)
    opener: UpstreamOpener = attrs.field(factory=UpstreamOpener)
    shuns: Callable[[App, str], bool] = lambda _app, _agent: False
    """Whether a kept connection through this agent is given up, since others are healthy and it is not."""
    _connections: trio.Nursery | None = attrs.field(default=None, init=False)
    """Those of HTTP/2, which have a task each."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Close connections that wait for nothing, and drive those of HTTP/2, until cancelled; then close all."""
        async with trio.open_nursery() as self._connections:
            await self.pool.run(task_status=task_status)

    async def forward(
        self, app: App, identity: UserIdentity | None, scope: Scope, receive: Receive, send: Send
    ) -> None:
        """Pass one request or WebSocket on, to its end. Cancelled, both sides are cut.

        `identity` is None for a preflight, which browsers send without any credential: nobody is named then.
        """
        began = trio.current_time()
        trace = trace_of(scope["headers"], self.sources.token_bytes(FRESH_BYTES))
        progress = Progress()
        finished = False
        try:
            await self._forward(_Request(app, identity, scope, receive, send, trace), progress)
            finished = True
        except Exception as error:
            note_failure(progress, error)
            raise
        finally:
            note_early_end(progress, scope, finished=finished)
            await self.record(
                AppRequest(
                    app=app,
                    identity=identity,
                    client_address=join_host_port(*scope["client"]),
                    method=scope.get("method", "GET"),
                    target=scope["raw_path"].decode("ascii"),
                    status=progress.status,
                    bytes_sent=progress.bytes_sent,
                    bytes_received=progress.bytes_received,
                    duration_ms=round((trio.current_time() - began) * 1000),
                    agent=progress.agent,
                    trace_id=trace.trace_id,
                    session_id="" if identity is None else identity.app_session,
                    decision_id=scope["state"].get("decision_id", ""),
                    error=progress.error,
                )
            )

    async def _forward(self, request: _Request, progress: Progress) -> None:
        """Answer the request, whatever happens to it."""
        if not request.app.enabled:
            await self._fail(
                request,
                progress,
                503,
                "Application disabled",
                f"the application {request.app.name} is disabled: an administrator has taken it out of service",
            )
            return
        try:
            call = self._call(request)
            check_length(call)
            await self._attempts(call, request, progress)
        except BodyTooLargeError as error:
            await self._fail(request, progress, 413, "Request too large", str(error))
        except AppUnreachableError as error:
            await self._fail(request, progress, 502, "Application unreachable", str(error))
        except AssertionTooLongError as error:
            message = f"the application {request.app.name} cannot be told who asks: {error}"
            await self._fail(request, progress, 502, "Application misconfigured", message)
        except UpstreamSilentError as error:
            await self._fail(
                request, progress, 504, "Application does not answer", describe(request.app, progress, error)
            )
        except UpstreamError as error:
            await self._fail(
                request, progress, 502, "Application failed", describe(request.app, progress, error)
            )

    def _call(self, request: _Request) -> AppCall:
        app, scope = request.app, request.scope
        upgrade = scope["type"] == "websocket"
        facts: RequestFacts = scope["extensions"][REQUEST]
        host = next((value for name, value in scope["headers"] if name == b"host"), b"")
        known = UpstreamRequest(
            host=host,
            public_name=app.public_addr,
            client_ip=scope["client"][0],
            identity=[
                *(self.identity_fields(app, request.identity) if request.identity is not None else ()),
                *request.trace.fields,
            ],
            framing=Framing(content_length=facts.content_length, chunked=facts.chunked),
            expects_continue=facts.expects_continue,
            upgrade=upgrade,
        )
        query = scope["query_string"]
        return AppCall(
            app=app,
            scope=scope,
            receive=request.receive,
            send=request.send,
            method=b"GET" if upgrade else scope["method"].encode("ascii"),
            target=b"%b%b%b"
            % (app.upstream.path.encode("ascii"), scope["raw_path"], b"?" + query if query else b""),
            fields=tuple(
                request_fields(
                    request.trace.put_into(scope["headers"]),
                    known,
                    FieldRules(tuple(app.options.request_headers.items())),
                )
            ),
            facts=facts,
            origins=origins_of(app, known) if app.options.rewrite_location else None,
        )

    def _times(self, scope: Scope) -> ExchangeTimes:
        """As long as nothing may happen here; the gate says so where roles want less (`idle_timeout`)."""
        wanted = scope["state"].get("idle_timeout", 0) or self.times.idle_seconds
        if wanted >= self.times.idle_seconds:
            return self.times
        return attrs.evolve(self.times, idle_seconds=wanted)

    # -- attempts

    async def _attempts(self, call: AppCall, request: _Request, progress: Progress) -> None:
        kind = AppWebSocket if call.scope["type"] == "websocket" else AppExchange
        http2 = kind is AppExchange and not call.app.options.http1_only
        for number in range(1, MAX_ATTEMPTS + 1):
            connection = await self._connection(call, request, progress, new=number > 1, http2=http2)
            exchange = kind(
                call=call, connection=connection, progress=progress, times=self._times(call.scope)
            )
            try:
                await exchange.run()
                return
            except UpstreamError:
                if number == MAX_ATTEMPTS or not may_repeat(exchange):
                    raise
                http2 = http2 and not connection.wants_http1
            finally:
                await self._put_away(exchange)

    async def _connection(
        self, call: AppCall, request: _Request, progress: Progress, *, new: bool, http2: bool
    ) -> UpstreamConnection:
        """One that had waited, or a ``new`` one, which may choose ``http2`` in TLS. Raises :exc:`UpstreamError`."""
        app = call.app
        if not new and call.scope["type"] != "websocket":
            replayable = call.may_be_repeated and not call.facts.has_body
            kept = await self.pool.take(pool_key(app), replayable=replayable)
            if kept is not None and self.shuns(app, kept.agent):
                await close_all([kept])
            elif kept is not None:
                progress.agent = kept.agent
                return kept
        opened = await self.open(
            app,
            user="" if request.identity is None else request.identity.name,
            client_address=join_host_port(*call.scope["client"]),
            trace_id=request.trace.trace_id,
        )
        progress.agent = opened.agent
        if self._connections is None:
            raise AssertionError("run() is not running")
        return await self.opener.open(
            app, opened.stream, opened.agent, connections=self._connections, http2=http2
        )

    async def _put_away(self, exchange: AppExchange) -> None:
        connection = exchange.connection
        if exchange.may_be_kept:
            await self.pool.give_back(pool_key(exchange.call.app), connection)
        elif exchange.complete and exchange.sent_all:
            await close_all([connection])
        else:
            # Neither side may take a part for the whole.
            with trio.CancelScope(shield=True):
                await abort_stream(connection.stream, ErrorCode.CANCELLED, "the request has ended early")

    async def _fail(
        self, request: _Request, progress: Progress, status: int, title: str, message: str
    ) -> None:
        progress.error = message
        if progress.status:
            return  # The answer has begun: that it ends without its end tells the client enough.
        progress.status = status
        await answer(
            request.scope, request.send, status, title, f"{message} (trace {request.trace.trace_id})"
        )


@attrs.frozen
class _Request:
    """One request as it came."""

    app: App
    identity: UserIdentity | None
    scope: Scope
    receive: Receive
    send: Send
    trace: TraceContext


def note_failure(progress: Progress, error: Exception) -> None:
    """Put into the record that the hub itself has failed, and what the client is told, unless it was told before."""
    if isinstance(error, trio.BrokenResourceError) and not progress.error:
        progress.error = "the client left before there was an answer"
        return
    progress.error = progress.error or f"the hub failed: {type(error).__name__}"
    progress.status = progress.status or (503 if isinstance(error, StorageError) else 500)


def note_early_end(progress: Progress, scope: Scope, *, finished: bool) -> None:
    """Put into the record why there was no complete answer, unless it says so already.

    A client that leaves in the middle of an answer is nothing unusual: that is how streams of events end.
    """
    if progress.error:
        return
    if not finished:
        why_cut = scope["state"].get("why_cut")
        reason = "" if why_cut is None else why_cut()
        progress.error = f"ended by the hub: {reason}" if reason else "broken off as the hub stopped"
        if reason and not progress.status:
            progress.status = 403  # what the gate answers
    elif not progress.status:
        progress.error = "the client left before there was an answer"


def check_length(call: AppCall) -> None:
    limit, length = call.app.options.max_body, call.facts.content_length
    if limit and length is not None and length > limit:
        raise BodyTooLargeError(f"the application {call.app.name} takes bodies of {limit} bytes at most")


def may_repeat(exchange: AppExchange) -> bool:
    """Whether a request that got no answer may be sent once more, on another connection.

    Either its head was not even sent, or the application says that it did nothing about it; or nothing came back, it
    means the same twice, and none of its body is gone.
    """
    progress = exchange.progress
    if progress.status or progress.body_begun or progress.client_gone:
        return False
    if not exchange.head_sent or exchange.connection.was_refused:
        return True
    return exchange.call.may_be_repeated and exchange.connection.is_untouched


def pool_key(app: App) -> Hashable:
    """What a connection is good for: whoever changes the application gets new ones."""
    options = app.options
    trust = options.ca_pem, options.insecure_skip_verify, options.http1_only
    return app.name, app.uri, app.agent_hostnames, *trust


def origins_of(app: App, known: UpstreamRequest) -> Origins:
    upstream = app.upstream
    spellings = {f"{upstream.scheme}://{upstream.authority}", f"{upstream.scheme}://{upstream.target}"}
    return Origins(
        internal=tuple(sorted(spellings)),
        internal_host=upstream.host,
        path=upstream.path,
        public=f"https://{known.public_host.decode('ascii')}",
    )


def describe(app: App, progress: Progress, error: UpstreamError) -> str:
    return f"agent {progress.agent} reaches the application {app.name}, but got no usable response: {error}"
