# SPDX-License-Identifier: Apache-2.0
"""A WebSocket to an application: asked for in HTTP, then bytes both ways that nobody looks into.

The switch is believed only when it answers the client's own key (RFC 6455 section 4.1, threat D10). Whatever else the
application says is a plain answer, after which both connections end.
"""

from __future__ import annotations

import logging

import attrs
import trio
from wsproto.utilities import generate_accept_token

from mezite.core.http1.client_fields import connection_tokens
from mezite.core.http1.response_reader import ResponseHead
from mezite.handlers.app_exchange import AppExchange
from mezite.net.app_upstream import UpstreamError
from mezite.net.asgi_types import Message
from mezite.net.byte_streams import PushbackStream, RelayIdleError, RelayTally, relay
from mezite.net.http1_websocket import UPGRADE

__all__ = ["AppWebSocket"]

_log = logging.getLogger("mezite.apps")

IDLE_SECONDS = 3600
"""Without a byte either way: most applications ping every half minute, and one that does not is asked for nothing."""


@attrs.define(eq=False, kw_only=True)
class AppWebSocket(AppExchange):
    """One request for a WebSocket; its connection is never used again."""

    async def run(self) -> None:
        """Pass the request on, and then everything, until both directions have ended.

        Raises :exc:`UpstreamError` when there is no usable answer. Closes the client's stream once it has switched.
        """
        head = await self._ask()
        if head is None:
            return
        if head.status == 101:
            await self._pass_bytes(head)
        else:
            await self._answer(head)

    async def _ask(self) -> ResponseHead | None:
        """The answer; None when the client has gone meanwhile."""
        call, connection = self.call, self.connection
        head: ResponseHead | None = None
        with self._patiently():
            await connection.begin(call.method, call.target, call.fields, upgrade=True)
            self.head_sent = True
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._watch_client, nursery.cancel_scope)
                try:
                    head = await self._final_head()
                except UpstreamError as error:
                    self._failure = error
                nursery.cancel_scope.cancel()
        if head is not None and head.status == 101 and not self._is_right(head):
            raise UpstreamError("it switched to another protocol than the WebSocket that was asked for")
        return head

    async def _watch_client(self, scope: trio.CancelScope) -> None:
        while (await self.call.receive())["type"] != "http.disconnect":
            pass
        self.progress.client_gone = True
        scope.cancel()

    def _is_right(self, head: ResponseHead) -> bool:
        key = next(value for name, value in self.call.fields if name.lower() == b"sec-websocket-key")
        upgrades = [value.lower() for name, value in head.fields if name == b"upgrade"]
        accepts = [value for name, value in head.fields if name == b"sec-websocket-accept"]
        switches = b"upgrade" in connection_tokens(head.fields) and upgrades == [b"websocket"]
        return switches and accepts == [generate_accept_token(key)]

    async def _pass_bytes(self, head: ResponseHead) -> None:
        fields = [
            (b"Connection", b"Upgrade"),
            (b"Upgrade", b"websocket"),
            *self.call.answer_fields(head),
        ]
        lines = [b"HTTP/1.1 101 Switching Protocols", *(b"%b: %b" % field for field in fields), b"", b""]
        tally = RelayTally()
        try:
            client, early = await self.call.scope["extensions"][UPGRADE](b"\r\n".join(lines))
            self.progress.status = 101
            await relay(
                PushbackStream(client, early),
                PushbackStream(self.connection.stream, self.connection.reader.take_rest()),
                idle_timeout=min(IDLE_SECONDS, self.times.idle_seconds),
                tally=tally,
            )
        except (trio.BrokenResourceError, trio.ClosedResourceError, RelayIdleError) as ended:
            # One of the two went away; the other one has been told by a reset.
            _log.debug("a WebSocket ended early", extra={"reason": repr(ended)})
        finally:
            self.progress.bytes_received, self.progress.bytes_sent = tally.a_to_b, tally.b_to_a

    async def _answer(self, head: ResponseHead) -> None:
        pass_on = self.call.send

        async def send(message: Message) -> None:
            await pass_on({**message, "type": f"websocket.{message['type']}"})

        self.call = attrs.evolve(self.call, send=send)
        with self._patiently():
            try:
                await self._begin_answer(head)
                await self._continue_answer()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self.progress.client_gone = True
