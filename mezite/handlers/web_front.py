# SPDX-License-Identifier: Apache-2.0
"""HTTP on an accepted stream: the hub's own application, the applications behind it, and nobody else's hosts."""

from __future__ import annotations

import attrs
import trio

from mezite.core.http1.client_fields import without_reserved
from mezite.core.http1.host_table import HostKind, HostTable, host_name
from mezite.net.asgi_answer import answer
from mezite.net.asgi_types import ASGIApp, Receive, Scope, Send
from mezite.net.http1_limits import DrainSignal, HostRules, Http1Limits, RulesOf
from mezite.net.http1_server import serve_http1

__all__ = ["HostRouter", "WebFront", "rules_by_host"]


FROM_PAGES = frozenset({b"x-mezite-csrf"})
"""What the hub's own pages send to it. It says nothing about who asks: it is compared with what the session has."""


ANY_BODY = 1 << 62
"""The application's own limit counts (`--max-body`): what is not read is not kept."""

OF_APPLICATIONS = HostRules(
    limits=Http1Limits(body_bytes=ANY_BODY),
    # For those whom the gate has let in: strangers get the hub's own answers, and no longer than at the hub (D14).
    patient=Http1Limits(
        body_bytes=ANY_BODY,
        # Streams in both directions may pause, and a byte a second on average keeps one for ever.
        body_rate=1.0,
        body_grace_seconds=600.0,
        # A player that has paused its film reads nothing for minutes.
        write_stall_seconds=600.0,
    ),
    plain_paths=False,
)


def rules_by_host(hosts: HostTable) -> RulesOf:
    """Tell the rules for a Host field: those of applications for names below their domain, else the hub's own."""
    own = HostRules()
    return lambda host: OF_APPLICATIONS if hosts.look_up(host) is HostKind.APPLICATION else own


@attrs.define(eq=False, kw_only=True)
class WebFront:
    """Serves an ASGI application on any number of connections."""

    app: ASGIApp
    drain: DrainSignal = attrs.field(factory=DrainSignal)
    rules_of: RulesOf | None = None
    """What holds for which host; None: the defaults for all."""

    async def serve(
        self, stream: trio.abc.Stream, scheme: str, client_address: str, local_address: str
    ) -> None:
        """Serve one connection; owns `stream`."""
        await serve_http1(
            stream,
            self.app,
            scheme=scheme,
            client=client_address,
            server=local_address,
            drain=self.drain,
            rules_of=self.rules_of,
        )


@attrs.frozen(kw_only=True)
class HostRouter:
    """An ASGI application that hands each request to whom its Host names.

    Per request, not per connection: a balancer reuses one connection for many hosts. What stands behind sees no
    field that only the hub may write, however spelled (threat D4): the client's address is in the scope by now.
    """

    hosts: HostTable
    hub: ASGIApp
    applications: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request or WebSocket; 421 for a host that is nobody's here (RFC 9110 section 15.5.20)."""
        if "headers" not in scope:
            await self.hub(scope, receive, send)
            return
        host = next((value for name, value in scope["headers"] if name == b"host"), b"")
        kind = self.hosts.look_up(host)
        kept = FROM_PAGES if kind is HostKind.HUB else frozenset[bytes]()
        scope = {**scope, "headers": without_reserved(scope["headers"], kept=kept)}
        if kind is HostKind.HUB:
            await self.hub(scope, receive, send)
        elif kind is HostKind.APPLICATION:
            await self.applications(scope, receive, send)
        else:
            message = (
                f"this hub does not answer for {host_name(host)}: use the address that `proxy.public_addr` names, "
                "or let the hub's administrator set it to this one"
            )
            await answer(scope, send, 421, "Misdirected request", message)
