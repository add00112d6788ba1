# SPDX-License-Identifier: Apache-2.0
"""The PROXY header in front of a connection, read by one piece of code for every listener.

It comes first of all, ahead of TLS (caddy's rule, and the specification's section 2): so this wraps the handler of a
listener, and what the handler gets is the connection without the header, with the client's real address.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

import attrs
import trio

from mezite.core.errors import RemoteProtocolError
from mezite.core.proxy_protocol.header import ProxyHeader
from mezite.core.proxy_protocol.reader import NEED_DATA, NO_HEADER, HeaderReader
from mezite.core.proxy_protocol.trust import HeaderPolicy, TrustPolicy

from .accept_loop import Connection, Handler, host_of_peer
from .log_budget import LogBudget
from .protocol_router import SERVER_FIRST_WAIT_SECONDS

__all__ = ["HEADER_SECONDS", "ProxiedListener"]

_log = logging.getLogger("mezite.net.proxy")

#: From the first byte of a header to its last one. A balancer sends it in one packet; go-proxyproto waits ten
#: seconds, Warpgate five (threat C4).
HEADER_SECONDS = 5.0

#: One read; a header has at most 4 KiB, and what follows it is put back.
_RECEIVE_BYTES = 4096

Refused = Callable[[Connection, str], Awaitable[None]]


class _RefusedHeaderError(Exception):
    """The connection is closed; the text says why."""


@attrs.frozen(kw_only=True)
class ProxiedListener:
    """A handler that reads the header and passes the connection on."""

    policy: TrustPolicy
    handler: Handler
    refused: Refused
    """Told of a connection that is closed because of its header, or for want of one; audits it."""
    server_first: bool = False
    """Some clients of this listener wait for us to speak: silence for a second means that there is no header (C5)."""
    _budget: LogBudget = attrs.field(factory=LogBudget, init=False)

    async def handle(self, connection: Connection) -> None:
        """Serve one connection."""
        decision = self._decide(connection.peer_address)
        if decision is None:
            return
        try:
            if decision is HeaderPolicy.REFUSE:
                raise _RefusedHeaderError(
                    "its address is not among the trusted peers, and a PROXY header is required"
                )
            if decision is not HeaderPolicy.IGNORE and not await self._take_header(connection, decision):
                return
        except _RefusedHeaderError as refused:
            self._note(connection, str(refused))
            await self.refused(connection, str(refused))
            return
        await self.handler(connection)

    def _note(self, connection: Connection, reason: str) -> None:
        """Anybody can send a header as often as he likes: the log gets some of them and the number of the others."""
        if self._budget.allows(trio.current_time()):
            _log.warning(
                "refused a connection%s",
                self._budget.take_left_out(),
                extra={"peer": connection.peer_address, "reason": reason},
            )

    def _decide(self, peer: str) -> HeaderPolicy | None:
        """What to do with a connection; None when the peer has reset it before its address could be read.

        HAProxy's checks do that. Nobody is there to be served, and nobody to be blamed.
        """
        try:
            return self.policy.decide(ip_address(host_of_peer(peer)))
        except ValueError:
            return None

    async def _take_header(self, connection: Connection, decision: HeaderPolicy) -> bool:
        """Read the header if there is one; False when the peer has left without a word."""
        header = await self._read(connection, decision)
        if header is None:
            if decision is HeaderPolicy.REQUIRE:
                raise _RefusedHeaderError(
                    "it sent no PROXY header although one is required; set proxy.proxy_protocol to on, or let the "
                    "balancer send one"
                )
            return True
        if isinstance(header, _Gone):
            return False
        if decision is HeaderPolicy.REFUSE_HEADER:
            raise _RefusedHeaderError(
                "it sent a PROXY header but is not among proxy.proxy_protocol_trusted_cidrs; add the balancer's own "
                "address there"
            )
        if header.source is not None:
            reason = connection.identify(str(header.source))
            if reason is not None:
                raise _RefusedHeaderError(reason)
        return True

    async def _read(self, connection: Connection, decision: HeaderPolicy) -> ProxyHeader | _Gone | None:
        reader = HeaderReader()
        scope = trio.CancelScope()
        if decision is HeaderPolicy.REQUIRE:
            scope.deadline = trio.current_time() + HEADER_SECONDS
        elif self.server_first:
            scope.deadline = trio.current_time() + SERVER_FIRST_WAIT_SECONDS
        began = False
        with scope:
            while True:
                data = await connection.stream.receive_some(_RECEIVE_BYTES)
                if not data:
                    return self._ended(reader, began=began)
                if not began:
                    began = True
                    scope.deadline = trio.current_time() + HEADER_SECONDS
                reader.receive_data(bytes(data))
                answer = self._answer(reader)
                if answer is not NEED_DATA:
                    connection.stream.push_back(reader.take_payload())
                    return answer if isinstance(answer, ProxyHeader) else None
        if began:
            raise _RefusedHeaderError(f"its PROXY header was not complete within {HEADER_SECONDS:g} s")
        return None

    def _answer(self, reader: HeaderReader) -> object:
        try:
            return reader.next_event()
        except RemoteProtocolError as error:
            raise _RefusedHeaderError(f"its PROXY header is malformed: {error}") from None

    def _ended(self, reader: HeaderReader, *, began: bool) -> _Gone:
        """A probe that connects and closes is nobody's business; half a header is."""
        if began and reader.next_event() is not NO_HEADER:
            raise _RefusedHeaderError("it ended in the middle of a PROXY header")
        return _Gone()


class _Gone:
    """The peer closed the connection without sending anything."""
