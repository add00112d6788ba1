# SPDX-License-Identifier: Apache-2.0
"""One HTTP/1 request and its response, between a wire and an ASGI application."""

from __future__ import annotations

import email.utils
import http
import http.client
import logging
from collections import deque
from contextlib import nullcontext
from typing import Any, NoReturn

import attrs
import h11
import trio

from mezite.core.http1.request_head import RequestHead

from .asgi_types import ASGIApp, Message, Scope
from .http1_limits import DrainSignal, Http1Limits
from .http1_request import facts_of
from .http1_wire import ClientGoneError, Http1Wire

__all__ = ["Http1Exchange"]

_log = logging.getLogger("mezite.net.http1")

#: Fields about the connection, which is ours to speak about (RFC 9110 section 7.6.1).
_HOP_BY_HOP = frozenset({b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade"})

_NO_BODY = frozenset({204, 304})


@attrs.define(eq=False)
class Http1Exchange:
    """Runs an application for one request.

    Deadlines of the request body are enforced while the application waits for it; breaking one cancels the
    application and answers in its place, as long as it has not begun to answer.
    """

    wire: Http1Wire
    head: RequestHead
    limits: Http1Limits
    keep: bool
    """whether the connection may be kept; decided for good when the response starts"""
    drain: DrainSignal
    _scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _end_wait: trio.CancelScope | None = attrs.field(default=None, init=False)
    _refusal: tuple[int, str] | None = attrs.field(default=None, init=False)
    _status: int | None = attrs.field(default=None, init=False)
    _response: h11.Response | None = attrs.field(default=None, init=False)
    """what has begun and is not on the wire yet"""
    _ended: bool = attrs.field(default=False, init=False)
    _gone: bool = attrs.field(default=False, init=False)
    _pieces: deque[Message] = attrs.field(factory=deque, init=False)
    _body_complete: bool = attrs.field(default=False, init=False)
    _body_received: int = attrs.field(default=0, init=False)
    _body_waited: float = attrs.field(default=0.0, init=False)

    async def run(self, app: ASGIApp, scope: Scope) -> bool:
        """Serve the request; returns whether the connection may be kept."""
        # What is here already is read now, so that an application that ignores a small body does not cost
        # the connection.
        if not self._pull_body():
            await self.wire.refuse(400, "the request body is malformed")
            return False
        await self._run_app(app, scope)
        if self._status is None and not self._gone:
            status, message = self._refusal or (500, "internal error")
            await self.wire.refuse(status, message)
            return False
        if not self._ended:
            # What was sent is a part; only the missing end tells the client so.
            self.wire.dead = True
        return self._ended and self.keep

    async def _run_app(self, app: ASGIApp, scope: Scope) -> None:
        try:
            # Only for its body a request is refused in its middle.
            with self._scope if facts_of(self.head).has_body else nullcontext():
                await app(scope, self.receive, self.send)
            if self._status is None and self._refusal is None and not self._gone:
                _log.error("the application returned without a response")
        except* ClientGoneError:
            self._gone = True
        except* Exception:  # noqa: BLE001 - the error wall: one request must not end the others
            _log.exception("the application failed")

    async def _refuse(self, status: int, message: str) -> NoReturn:
        self._refusal = (status, message)
        self._scope.cancel()
        await trio.sleep_forever()

    # -- what the application calls

    async def receive(self) -> Message:
        """ASGI ``receive``: pieces of the body, then ``http.disconnect`` when client or response ended.

        A checkpoint only where it waits: what it gives without waiting had come before.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._pieces and not self._body_complete and not self._gone:
            await self._read_body()
        if self._body_received > self.limits.body_bytes:
            await self._refuse(413, f"the request body is larger than {self.limits.body_bytes} bytes")
        if self._pieces:
            return self._pieces.popleft()
        if not self._gone and not self._ended:
            with trio.CancelScope() as self._end_wait:
                await self.wire.wait_gone()
                self._gone = True
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """ASGI ``send``. Raises :exc:`ClientGoneError` when there is nobody to send to.

        A checkpoint only where bytes are written.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._status == http.HTTPStatus.SWITCHING_PROTOCOLS:
            raise ClientGoneError("the connection was given away")
        kind = message["type"]
        if kind == "http.response.start":
            await self._start(message)
        elif kind == "http.response.body":
            await self._send_body(message)
        else:
            raise RuntimeError(f"the application sent {kind!r}, which was not offered")

    async def hand_over(self, response: bytes) -> tuple[trio.abc.Stream, bytes]:
        """Answer with ``response``, status 101, and give the connection away; HTTP is over on it.

        Raises :exc:`ClientGoneError`, and :exc:`RuntimeError` when there was an answer already.
        """
        if self._status is not None:
            raise RuntimeError("the application has answered already")
        self._status = http.HTTPStatus.SWITCHING_PROTOCOLS
        return await self.wire.hand_over(response)

    def be_patient(self, limits: Http1Limits) -> None:
        """``limits`` hold for the rest of this request: the application knows whom it serves."""
        self.limits = limits
        self.wire.be_patient(limits)

    # -- the request body

    async def _read_body(self) -> None:
        connection, limits = self.wire.h11, self.limits
        if connection.they_are_waiting_for_100_continue and self._status is None:
            await self.wire.send(h11.InformationalResponse(status_code=100, headers=[]))
        allowed = limits.body_grace_seconds + self._body_received / limits.body_rate
        began = trio.current_time()
        data: bytes | bytearray | None = None
        with trio.move_on_after(allowed - self._body_waited):
            data = await self.wire.read()
        self._body_waited += trio.current_time() - began
        if data is None:
            await self._refuse(408, f"the request body comes slower than {limits.body_rate:g} bytes a second")
        elif not data:
            self._gone = True
        else:
            connection.receive_data(bytes(data))
            if not self._pull_body():
                await self._refuse(400, "the request body is malformed")

    def _pull_body(self) -> bool:
        """Take what ``h11`` has of the body; False when it is malformed."""
        try:
            while isinstance(event := self.wire.h11.next_event(), h11.Data):
                self._body_received += len(event.data)
                self._pieces.append({"type": "http.request", "body": bytes(event.data), "more_body": True})
        except h11.RemoteProtocolError:
            return False
        if isinstance(event, h11.EndOfMessage):
            self._body_complete = True
            self._pieces.append({"type": "http.request", "body": b"", "more_body": False})
        return True

    # -- the response

    async def _start(self, message: Message) -> None:
        if self._status is not None:
            raise RuntimeError("the application started its response twice")
        status = int(message["status"])
        fields = response_fields(message.get("headers", ()))
        # Without the end of the request's body the next request could only be reached by reading all of it.
        self.keep = self.keep and self._body_complete and not self.drain.started
        if not self.keep:
            fields.append((b"connection", b"close"))
        reason = http.client.responses.get(status, "")
        # It goes out with the first piece of the body, as ASGI has it: one packet for most responses.
        self._response = h11.Response(status_code=status, headers=fields, reason=reason)
        self._status = status

    async def _send_body(self, message: Message) -> None:
        if self._status is None or self._ended:
            raise RuntimeError("the application sent a body where none can be")
        events: list[h11.Event] = []
        if self._response is not None:
            events.append(self._response)
            self._response = None
        body, more = message.get("body", b""), message.get("more_body", False)
        if body and self.head.method != b"HEAD" and self._status not in _NO_BODY:
            events.append(h11.Data(data=body))
        if not more:
            events.append(h11.EndOfMessage())
        await self.wire.send(*events)
        if not more:
            self._ended = True
            if self._end_wait is not None:
                self._end_wait.cancel()


def response_fields(headers: Any) -> list[tuple[bytes, bytes]]:
    """The application's fields without those about the connection, and with a Date."""
    fields = [
        (bytes(name), bytes(value)) for name, value in headers if bytes(name).lower() not in _HOP_BY_HOP
    ]
    if not any(name.lower() == b"date" for name, _ in fields):
        fields.append((b"date", email.utils.formatdate(usegmt=True).encode()))
    return fields
