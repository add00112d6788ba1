# SPDX-License-Identifier: Apache-2.0
"""Local ports that lead to TCP applications, all in one connection to the hub."""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

import attrs
import trio

from mezite.cli.hub_client.hub_dialing import connect_hub
from mezite.cli.hub_client.hub_link import HubLink
from mezite.cli.hub_client.user_session import current_profile
from mezite.cli.terminal.errors import CliError
from mezite.core.mux.connection import ChannelHeader
from mezite.core.mux.error_codes import ErrorCode
from mezite.net.accept_loop import Connection, serve_connections
from mezite.net.byte_streams import abort_stream, relay
from mezite.net.connection_limits import ConnectionLimiter, ConnectionLimits
from mezite.net.heap import keep_large_blocks
from mezite.net.mux_channel import ChannelResetError, MuxChannel
from mezite.net.mux_session import ChannelRejectedError

__all__ = ["AppPort", "open_tunnels"]

LOOPBACK = "127.0.0.1"
"""Whoever can connect uses the application as this user; the machine's own programs have to be believed anyhow."""

LIMITS = ConnectionLimits(max_connections=1000, max_connections_per_ip=1000)
"""One connection to the hub carries 1,024 channels."""

SAY_SECONDS = 1.0
"""Fifty connections that are refused together are one line."""

_WORTH_SAYING = frozenset({ErrorCode.REFUSED, ErrorCode.DEADLINE})
"""Ends that somebody has decided; everything else is the application's affair, or the connection's."""


@attrs.frozen
class AppPort:
    """One application, and the port for it."""

    app: str
    port: int = 0
    """0: any free one."""


async def open_tunnels(
    wanted: Sequence[AppPort], announce: Callable[[str], None], say: Callable[[str], None]
) -> None:
    """Listen for each application and carry connections, until cancelled.

    `announce` gets a line for each port once connections will be let through; `say` what happens later.

    :raises CliError: nobody is logged in, a port cannot be had, or the hub refuses an application.
    :raises ExplainedError: the hub cannot be reached.
    """
    keep_large_blocks()
    current_profile()
    async with AsyncExitStack() as opened:
        # All ports first: a port that is taken is better found before anything else happens.
        listeners = [await opened.enter_async_context(await _listen(each)) for each in wanted]
        link = HubLink(connect=_connect, say=say, jitter=random.random)
        async with trio.open_nursery() as nursery:
            await nursery.start(link.run)
            for each in wanted:
                await _check(link, each.app)
            limiter = ConnectionLimiter(LIMITS)
            for each, listener in zip(wanted, listeners, strict=True):
                tunnel = _Tunnel(app=each.app, link=link, say=say)
                nursery.start_soon(_serve, listener, tunnel, limiter)
                port = listener.socket.getsockname()[1]
                announce(f"Tunnel open: {LOOPBACK}:{port} -> {each.app}")


async def _connect() -> trio.abc.Stream:
    return await connect_hub(*current_profile())


async def _listen(wanted: AppPort) -> trio.SocketListener:
    try:
        (listener,) = await trio.open_tcp_listeners(wanted.port, host=LOOPBACK)
    except OSError as error:
        what = f"cannot listen on {LOOPBACK}:{wanted.port} for {wanted.app}"
        if error.errno == errno.EADDRINUSE:
            why, hint = "the port is taken", "give another --port, or none for a free one"
        else:
            why, hint = (
                os.strerror(error.errno or 0).lower(),
                "give a --port above 1023, or none for a free one",
            )
        raise CliError(what, why, hint) from None
    return listener


async def _check(link: HubLink, app: str) -> None:
    """Find out now, and not at the first connection, that there is no such application or that it is not allowed."""
    try:
        channel = await link.open(ChannelHeader(kind="app", target=app, attributes={"check": "1"}))
    except ChannelRejectedError as rejected:
        raise CliError(rejected.text or f"the hub refused: {rejected.code.name.lower()}") from None
    await trio.aclose_forcefully(channel)


async def _serve(listener: trio.SocketListener, tunnel: _Tunnel, limiter: ConnectionLimiter) -> None:
    await serve_connections([listener], tunnel.carry, name=f"tunnel to {tunnel.app}", limiter=limiter)


@attrs.define(eq=False, kw_only=True)
class _Tunnel:
    """The way from one port to its application."""

    app: str
    link: HubLink
    say: Callable[[str], None]
    _silent_until: float = attrs.field(default=0.0, init=False)

    async def carry(self, connection: Connection) -> None:
        """Serve one local connection; one that cannot be carried is reset, which its client cannot take for an end."""
        connection.established()
        try:
            channel = await self._open()
        except CliError as error:
            self._say(f"error: {error}")
            await abort_stream(connection.stream, ErrorCode.UNREACHABLE, "")
            return
        try:
            await relay(connection.stream, channel)
        except ChannelResetError as reset:
            if reset.code in _WORTH_SAYING:
                self._say(f"a connection to {self.app} was ended: {reset.text}")

    async def _open(self) -> MuxChannel:
        """:raises CliError: there is no way; the text is the hub's where it has one."""
        try:
            return await self.link.open(ChannelHeader(kind="app", target=self.app))
        except ChannelRejectedError as rejected:
            raise CliError(rejected.text or f"the hub refused: {rejected.code.name.lower()}") from None

    def _say(self, text: str) -> None:
        now = trio.current_time()
        if now >= self._silent_until:
            self._silent_until = now + SAY_SECONDS
            self.say(text)
