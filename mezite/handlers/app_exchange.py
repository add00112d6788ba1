# SPDX-License-Identifier: Apache-2.0
"""One request to an application and its response, both on their way at once.

Nothing is collected: a piece that comes from either side is passed on before the next one is read. So a slow reader
slows down its writer and nobody else, events arrive as they are sent, and memory does not grow with a body. A response
may begin, and end, before the request's body has.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import attrs
import trio

from mezite.core.apps.app import App
from mezite.core.http1.response_reader import ResponseBody, ResponseEnd, ResponseEvent, ResponseHead
from mezite.core.http1.upstream_fields import Field, FieldRules, Origins, response_fields
from mezite.core.mux.events import NeedData
from mezite.net.app_upstream import UpstreamConnection, UpstreamError
from mezite.net.asgi_types import Message, Receive, Scope, Send
from mezite.net.http1_request import RequestFacts

__all__ = ["AppCall", "AppExchange", "BodyTooLargeError", "ExchangeTimes", "Progress", "UpstreamSilentError"]

REPEATABLE = frozenset({b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"})
"""RFC 9110 section 9.2.2: sent twice, they ask for the same as once."""

UNWATCHED_SECONDS = 0.1
"""How long the answer to a request without a body is awaited before a second task watches whether the client is still
there: most answers come sooner, and making that task and ending it costs 0.1 ms."""

CONNECTION_LOGINS = re.compile(rb"\s*(?:ntlm|negotiate)\b", re.IGNORECASE)
"""Schemes that log a connection in, not a request: on a shared one the next user would be taken for this one."""


class UpstreamSilentError(UpstreamError):
    """The application has said nothing for too long."""


class BodyTooLargeError(Exception):
    """The body is larger than the application takes; the message says so."""


@attrs.frozen(kw_only=True)
class ExchangeTimes:
    """How long nothing may happen. A response that goes on may last for ever."""

    head_seconds: float = 300.0
    """from the last byte of the request to the first of the response: reports and long polls take minutes"""
    idle_seconds: float = 3600.0
    """between two pieces of a response: an event stream without a comment now and then is dead after an hour"""
    continue_seconds: float = 1.0
    """how long a body waits for 100 Continue; then it is sent, since many servers never say it (RFC 9110, 10.1.1)"""


@attrs.frozen(kw_only=True)
class AppCall:
    """A request as it is sent."""

    app: App
    scope: Scope
    receive: Receive
    send: Send
    method: bytes
    target: bytes
    fields: tuple[Field, ...]
    facts: RequestFacts
    origins: Origins | None

    @property
    def may_be_repeated(self) -> bool:
        """Whether it may be sent a second time while none of its body was."""
        return self.method in REPEATABLE

    @property
    def logs_connection_in(self) -> bool:
        """Whether the connection is the user's own from now on."""
        return any(
            name.lower() == b"authorization" and CONNECTION_LOGINS.match(value) for name, value in self.fields
        )

    def answer_fields(self, head: ResponseHead) -> list[Field]:
        """What the browser gets of the fields of a response."""
        rules = FieldRules(tuple(self.app.options.response_headers.items()))
        return response_fields(
            head.fields, public_name=self.app.public_addr, rules=rules, origins=self.origins
        )


@attrs.define(eq=False)
class Progress:
    """What a request has come to; kept over its attempts, for the record."""

    status: int = 0
    """of the response that was begun; 0: none"""
    bytes_sent: int = 0
    """to the client, bodies only"""
    bytes_received: int = 0
    agent: str = ""
    error: str = ""
    body_begun: bool = False
    """a byte of the body was taken from the client, so that the request cannot be repeated"""
    client_gone: bool = False


@attrs.define(eq=False, kw_only=True)
class AppExchange:
    """One attempt, on one connection."""

    call: AppCall
    connection: UpstreamConnection
    progress: Progress
    times: ExchangeTimes
    head_sent: bool = attrs.field(default=False, init=False)
    sent_all: bool = attrs.field(default=False, init=False)
    """the request, with its body"""
    complete: bool = attrs.field(default=False, init=False)
    """the response, and the client has it"""
    _private: bool = attrs.field(default=False, init=False)
    _idle: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _answered: trio.Event = attrs.field(factory=trio.Event, init=False)
    """the application has said what to do with the body"""
    _wants_body: bool = attrs.field(default=True, init=False)
    _failure: Exception | None = attrs.field(default=None, init=False)

    @property
    def may_be_kept(self) -> bool:
        """Whether the connection is as good as new."""
        return self.sent_all and self.complete and not self._private and self.connection.may_be_kept

    async def run(self) -> None:
        """Pass everything on until the response has ended or the client has gone.

        Raises :exc:`UpstreamError` when there is no complete response, :exc:`UpstreamSilentError` for one that does not
        come, and :exc:`BodyTooLargeError`. Cancelled, the connection is of no further use.
        """
        self._private = self.call.logs_connection_in
        self.sent_all = not self.call.facts.has_body
        with self._patiently():
            await self.connection.begin(self.call.method, self.call.target, self.call.fields)
            self.head_sent = True
            if self.sent_all:
                await self._noting_failures(self._answer_at_once)
            if not self._is_over:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._upload, nursery.cancel_scope)
                    await self._noting_failures(self._download)
                    nursery.cancel_scope.cancel()

    @property
    def _is_over(self) -> bool:
        return self.complete or self.progress.client_gone or self._failure is not None

    @contextmanager
    def _patiently(self) -> Iterator[None]:
        """The block is cancelled when nothing happens for too long; raises what has failed in it."""
        with trio.CancelScope() as self._idle:
            self._touch()
            yield
        if self._failure is not None:
            raise self._failure
        if self._idle.cancelled_caught:
            raise UpstreamSilentError(f"nothing came from it for {self._patience:g} s")

    # -- the request

    async def _upload(self, scope: trio.CancelScope) -> None:
        """Pass the body on, then watch whether the client is still there."""
        try:
            if self.call.facts.expects_continue:
                with trio.move_on_after(self.times.continue_seconds):
                    await self._answered.wait()
            if self._wants_body:
                while (message := await self.call.receive())["type"] == "http.request":
                    await self._pass_on(message)
                self.progress.client_gone = not self.complete
                scope.cancel()
        except UpstreamError:
            # It takes no more; what it has to say about that may be on its way.
            return
        except BodyTooLargeError as error:
            self._failure = error
            scope.cancel()

    async def _pass_on(self, message: Message) -> None:
        data, more = message.get("body", b""), message.get("more_body", False)
        if data:
            self.progress.body_begun = True
            self.progress.bytes_received += len(data)
            limit = self.call.app.options.max_body
            if limit and self.progress.bytes_received > limit:
                raise BodyTooLargeError(
                    f"the application {self.call.app.name} takes bodies of {limit} bytes at most"
                )
        if self.call.facts.has_body:
            await self.connection.send_body(data, more=more)
            self._touch()
        self.sent_all = self.sent_all or not more

    # -- the response

    async def _noting_failures(self, step: Callable[[], Awaitable[None]]) -> None:
        try:
            await step()
        except UpstreamError as error:
            self._failure = error
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.progress.client_gone = True

    async def _answer_at_once(self) -> None:
        """Pass back what has come of the response in a moment, which is all of most."""
        head = None
        with trio.move_on_after(UNWATCHED_SECONDS):
            head = await self._final_head()
        if head is not None:
            await self._begin_answer(head)

    async def _download(self) -> None:
        if not self.progress.status:
            await self._begin_answer(await self._final_head())
        await self._continue_answer()

    async def _final_head(self) -> ResponseHead:
        while True:
            event = await self.connection.next_event()
            if not isinstance(event, ResponseHead):
                raise AssertionError("a response begins with its head")
            if event.status >= 200 or event.status == 101:
                return event
            if event.status == 100:
                self._answered.set()

    async def _begin_answer(self, head: ResponseHead) -> None:
        # Without a request for its body the client has not begun to send it, and need not any more.
        self._wants_body = self._answered.is_set() or not self.call.facts.expects_continue
        self._answered.set()
        self._private = self._private or logs_connection_in(head)
        # The head goes out with what has come of the body, or alone: the body of an event stream may take its time.
        piece = self._gather(self.connection.poll_event())
        self.progress.status = head.status
        await self.call.send(
            {
                "type": "http.response.start",
                "status": head.status,
                "headers": self.call.answer_fields(head),
            }
        )
        await self._pass_back(*piece)

    async def _continue_answer(self) -> None:
        while not self.complete:
            self._touch()
            await self._pass_back(*self._gather(await self.connection.next_event()))

    def _gather(self, event: ResponseEvent | NeedData) -> tuple[bytes, bool]:
        """Everything that has come together, and whether the end has: it goes out in one piece."""
        pieces = []
        while isinstance(event, ResponseBody):
            pieces.append(event.data)
            event = self.connection.poll_event()
        return b"".join(pieces), isinstance(event, ResponseEnd)

    async def _pass_back(self, body: bytes, ended: bool) -> None:
        self.progress.bytes_sent += len(body)
        self.complete = ended
        await self.call.send({"type": "http.response.body", "body": body, "more_body": not ended})

    @property
    def _patience(self) -> float:
        return self.times.idle_seconds if self.progress.status else self.times.head_seconds

    def _touch(self) -> None:
        self._idle.deadline = trio.current_time() + self._patience


def logs_connection_in(head: ResponseHead) -> bool:
    """Whether the application asks for a login of the connection."""
    return any(name == b"www-authenticate" and CONNECTION_LOGINS.match(value) for name, value in head.fields)
