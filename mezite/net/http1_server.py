# SPDX-License-Identifier: Apache-2.0
"""An HTTP/1.1 server on any stream, for one ASGI application.

Each request passes a strict gate before ``h11`` sees it (``mezite.core.http1``), has deadlines in every
phase, and ends at an error wall. Any doubt about where a message ends closes the connection (threat D1); so
does a chunked request body, whose lenient corners no gate has looked at.
"""

from __future__ import annotations

import re
import urllib.parse
from functools import partial

import attrs
import h11
import trio

from mezite.core.errors import RemoteProtocolError
from mezite.core.http1.request_head import RequestHead, parse_request_head

from .addresses import split_host_port
from .asgi_types import ASGIApp, Scope
from .http1_exchange import Http1Exchange
from .http1_limits import DrainSignal, HostRules, Http1Limits, RulesOf
from .http1_request import PATIENCE, REQUEST, facts_of
from .http1_websocket import WebSocketOffer
from .http1_wire import Http1Wire
from .websocket_upgrade import check_upgrade, wants_websocket

__all__ = ["DrainSignal", "Http1Limits", "serve_http1"]

_LOOSE_PERCENT = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


async def serve_http1(
    stream: trio.abc.Stream,
    app: ASGIApp,
    *,
    scheme: str,
    client: str,
    server: str,
    limits: Http1Limits | None = None,
    drain: DrainSignal | None = None,
    rules_of: RulesOf | None = None,
) -> None:
    """Serve requests on ``stream``, which it owns, until client, limits or ``drain`` end the connection.

    ``scheme`` is ``http`` or ``https``; ``client`` and ``server`` are ``ip:port`` for the ASGI scope. ``limits`` hold
    until the head of a request is read; from then on the rules of its host do, which are the same limits by default.
    Whatever the client or the application does, nothing is raised but cancellation, which closes the stream.
    A request for a WebSocket comes to the application as in ``http1_websocket``.
    """
    limits = limits or Http1Limits()
    front = _Front(
        wire=Http1Wire(stream, limits),
        app=app,
        ends=_Ends(scheme, _ends_pair(client), _ends_pair(server)),
        limits=limits,
        drain=drain or DrainSignal(),
        rules_of=rules_of or constant_rules(limits),
    )
    try:
        await front.serve()
        await front.wire.close()
    finally:
        await trio.aclose_forcefully(stream)


def constant_rules(limits: Http1Limits) -> RulesOf:
    rules = HostRules(limits=limits)
    return lambda _host: rules


@attrs.frozen
class _Ends:
    scheme: str
    client: tuple[str, int]
    server: tuple[str, int]


def _ends_pair(address: str) -> tuple[str, int]:
    try:
        return split_host_port(address, 0)
    except ValueError:
        return address, 0


@attrs.define(eq=False)
class _Front:
    wire: Http1Wire
    app: ASGIApp
    ends: _Ends
    limits: Http1Limits
    drain: DrainSignal
    rules_of: RulesOf

    async def serve(self) -> None:
        for number in range(1, self.limits.max_requests + 1):
            try:
                head = await self._next_head(first=number == 1)
                if head is None or not await self._answer(head, last=number == self.limits.max_requests):
                    return
            except RemoteProtocolError as error:
                await self.wire.refuse(error.code, str(error))
                return

    async def _next_head(self, *, first: bool) -> bytes | None:
        """The next head; None when the connection ends without one."""
        if not first and self.wire.heads.is_empty and not await self._wait_for_request():
            return None
        if (head := self.wire.heads.next_head()) is not None:
            return head
        with trio.move_on_after(self.limits.header_seconds):
            while (head := self.wire.heads.next_head()) is None:
                data = await self.wire.read()
                if not data:
                    return None
                self.wire.heads.receive_data(data)
            return head
        if self.wire.heads.is_empty:
            return None  # It never asked for anything: a browser's spare connection, a health check.
        raise RemoteProtocolError("the head of the request took too long", 408)

    async def _wait_for_request(self) -> bool:
        """Wait on a kept connection; False when it ends, is idle for too long, or draining starts."""
        data: bytes | bytearray = b""
        with self.drain.idle() as scope:
            scope.deadline = trio.current_time() + self.limits.idle_seconds
            data = await self.wire.read()
        self.wire.heads.receive_data(data)
        return bool(data)

    async def _answer(self, raw: bytes, *, last: bool) -> bool:
        head = parse_request_head(raw)
        rules = self.rules_of(head.host)
        check_request(head, rules.limits)
        upgrade = wants_websocket(head)
        # Who asked to switch and was refused may have begun to speak the other protocol all the same (threat D10).
        keep = not (last or head.wants_close or head.chunked or upgrade)
        scope = asgi_scope(head, self.ends, plain_paths=rules.plain_paths)
        try:
            self.wire.begin(raw, rules.limits)
        except h11.RemoteProtocolError as error:
            raise RemoteProtocolError("the request is malformed", 400) from error
        exchange = Http1Exchange(self.wire, head, rules.limits, keep=keep, drain=self.drain)
        if rules.patient is not None:
            scope["extensions"][PATIENCE] = partial(exchange.be_patient, rules.patient)
        app = WebSocketOffer(self.app, exchange) if upgrade else self.app
        if not await exchange.run(app, scope):
            return False
        self.wire.end()
        return True


def check_request(head: RequestHead, limits: Http1Limits) -> None:
    """Refuse what this server does not do; :exc:`RemoteProtocolError` carries the status."""
    if head.method in (b"CONNECT", b"TRACE"):
        raise RemoteProtocolError(f"{head.method.decode()} is not allowed here", 405)
    if wants_websocket(head):
        check_upgrade(head)
    if head.content_length is not None and head.content_length > limits.body_bytes:
        raise RemoteProtocolError(f"the request body is larger than {limits.body_bytes} bytes", 413)
    expect = head.field(b"expect")
    if expect is not None and expect.lower() != b"100-continue":
        raise RemoteProtocolError("the only expectation met here is 100-continue", 417)


def asgi_scope(head: RequestHead, ends: _Ends, *, plain_paths: bool = True) -> Scope:
    """The ASGI scope of a request. The path is decoded once; one that can be read in two ways is refused."""
    raw_path, _, query = head.target.partition(b"?")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": f"1.{head.minor_version}",
        "method": head.method.decode("ascii"),
        "scheme": ends.scheme,
        "path": decode_path(raw_path, plain=plain_paths),
        "raw_path": raw_path,
        "query_string": query,
        "root_path": "",
        "headers": list(head.fields),
        "client": ends.client,
        "server": ends.server,
        "extensions": {REQUEST: facts_of(head)},
        "state": {},
    }


def decode_path(raw_path: bytes, *, plain: bool = True) -> str:
    """Percent-decode a path, refusing what a handler and a policy might read differently (threat D8).

    That is: an empty segment, dot segments, an encoded slash, backslash, control byte, broken UTF-8, or a percent
    sign that begins no encoding. If it need not be ``plain``, empty segments and encoded slashes and backslashes pass.
    """
    if _LOOSE_PERCENT.search(raw_path):
        raise RemoteProtocolError("the path has a percent sign without two hexadecimal digits", 400)
    try:
        path = urllib.parse.unquote_to_bytes(raw_path).decode("utf-8")
    except UnicodeDecodeError:
        raise RemoteProtocolError("the path is not UTF-8", 400) from None
    encoded = raw_path.lower()
    dotted = not {".", ".."}.isdisjoint(path.split("/"))
    loose = "//" in path or "\\" in path or b"%2f" in encoded
    if dotted or (plain and loose) or _CONTROL.search(path):
        raise RemoteProtocolError("the path is not in its plain form", 400)
    return path
