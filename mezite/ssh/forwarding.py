# SPDX-License-Identifier: Apache-2.0
"""TCP connections from the node (``-L``, ``-W``, ``-D``) and to ports on it (``-R``), RFC 4254 section 7."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Awaitable, Callable
from typing import Protocol

import attrs
import trio

from mezite.ssh.channel import Channel
from mezite.ssh.channel_table import OpenRequest
from mezite.ssh.connection import ServerConnection
from mezite.ssh.errors import SshError
from mezite.ssh.limits import SshLimits
from mezite.ssh.messages import OpenFailure
from mezite.ssh.policy import ChannelKind, PeerAddress, Refusal, SessionInfo, SessionOutcome, SshGrant
from mezite.ssh.relay import splice
from mezite.ssh.wire import WireReader, string, uint32

__all__ = ["Forwarding", "ForwardingHost"]

_log = logging.getLogger("mezite.ssh")

#: Look-ups of all connections together, apart from Trio's default threads: a slow name server must not hold
#: up others.
DNS_THREADS = 8
_HOST_CHARACTERS = 255
_PORTS = range(1, 65536)
#: Ports below this are root's.
_FIRST_FREE_PORT = 1024
_BACKLOG = 32
_dns_limiter: trio.lowlevel.RunVar[trio.CapacityLimiter] = trio.lowlevel.RunVar("mezite.ssh dns")


class ForwardingHost(Protocol):
    """What forwarding needs of the server it belongs to."""

    grant: SshGrant
    limits: SshLimits
    peer: PeerAddress

    def authorize(self, kind: ChannelKind, target: str) -> Refusal | None:
        """The policy's answer, recorded when it is a no."""

    def record_refusal(self, kind: ChannelKind, target: str, message: str) -> None:
        """Tell the hooks of a no that came from elsewhere."""

    def start_soon(self, function: Callable[..., Awaitable[None]], *args: object) -> None:
        """Run a task of the connection."""

    async def session_started(self, info: SessionInfo) -> None:
        """Before any byte flows."""

    async def session_ended(self, info: SessionInfo, outcome: SessionOutcome) -> None:
        """Once for each started forward."""

    def new_session_id(self) -> str:
        """A fresh id."""


@attrs.define
class _Ending:
    """What there is to say of a forwarded connection, whenever it ends: what it moved counts also when it is lost."""

    error: str | None = "the connection was lost"
    channel: Channel | None = None

    def outcome(self) -> SessionOutcome:
        """As things are now."""
        if self.channel is None:
            return SessionOutcome(error=self.error)
        return SessionOutcome(
            error=self.error, bytes_in=self.channel.bytes_in, bytes_out=self.channel.bytes_out
        )


class Forwarding:
    """One connection's forwards. A listener belongs to the connection that asked for it; nobody else can
    cancel it.
    """

    def __init__(self, host: ForwardingHost, connection: ServerConnection) -> None:
        self._host = host
        self._connection = connection
        self._listeners: dict[tuple[str, int], trio.CancelScope] = {}

    def _info(self, kind: ChannelKind, target: str) -> SessionInfo:
        return SessionInfo(
            session_id=self._host.new_session_id(),
            grant=self._host.grant,
            kind=kind,
            target=target,
            pty=False,
            client=self._host.peer,
        )

    def _refusal(self, kind: ChannelKind, target: str) -> str | None:
        if not self._host.grant.permissions.port_forwarding:
            self._host.record_refusal(kind, target, "port forwarding is not permitted")
            return "port forwarding is not permitted"
        refusal = self._host.authorize(kind, target)
        return refusal.message if refusal else None

    # ---- from the node ----------------------------------------------------------------------------------

    def open_direct(self, request: OpenRequest) -> None:
        """Answer a direct-tcpip channel once the connection stands, so that the client hears why it does
        not.
        """
        data = request.data
        host, port = data.text(), data.uint32()
        if not 0 < len(host) <= _HOST_CHARACTERS or not host.isprintable() or port not in _PORTS:
            request.refuse(OpenFailure.CONNECT_FAILED, "no such address")
            return
        target = format_target(host, port)
        refusal = self._refusal(ChannelKind.DIRECT_TCPIP, target)
        if refusal is not None:
            request.refuse(OpenFailure.PROHIBITED, refusal)
            return
        self._host.start_soon(self._run_direct, request, host, port)

    async def _run_direct(self, request: OpenRequest, host: str, port: int) -> None:
        info = self._info(ChannelKind.DIRECT_TCPIP, format_target(host, port))
        try:
            await self._host.session_started(info)
        except Exception:  # noqa: BLE001 - logged; the answer is no
            _log.exception("a forwarded connection could not be recorded")
            request.refuse(OpenFailure.PROHIBITED, "the connection could not be recorded")
            return
        ending = _Ending()
        try:
            await self._dial_and_splice(request, host, port, ending)
        finally:
            await self._host.session_ended(info, ending.outcome())

    async def _dial_and_splice(self, request: OpenRequest, host: str, port: int, ending: _Ending) -> None:
        try:
            with trio.fail_after(self._host.limits.dial_seconds):
                stream = await _dial(host, port)
        except (OSError, trio.TooSlowError) as error:
            ending.error = describe_dial_error(error)
            request.refuse(OpenFailure.CONNECT_FAILED, ending.error)
            return
        try:
            ending.channel = request.confirm()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        await splice(ending.channel, stream)
        ending.error = None

    # ---- to the node ------------------------------------------------------------------------------------

    def listen(self, data: WireReader) -> bytes | None:
        """Answer tcpip-forward: the bound port if the client left the choice, ``None`` for no.

        Whatever address is asked for, only loopback is bound: a user's forward must not open a node to its
        network.
        """
        address, port = data.text(), data.uint32()
        target = format_target(address or "localhost", port)
        if len(address) > _HOST_CHARACTERS or port not in range(65536):
            return None
        if len(self._listeners) >= self._host.limits.forward_listeners:
            self._host.record_refusal(ChannelKind.TCPIP_FORWARD, target, "too many forwarded ports")
            return None
        if 0 < port < _FIRST_FREE_PORT and self._host.grant.login != "root":
            self._host.record_refusal(ChannelKind.TCPIP_FORWARD, target, "ports below 1024 are root's")
            return None
        if self._refusal(ChannelKind.TCPIP_FORWARD, target) is not None:
            return None
        listener = _listen_on_loopback(port)
        if listener is None:
            return None
        bound: int = listener.getsockname()[1]
        scope = self._listeners[address, bound] = trio.CancelScope()
        self._host.start_soon(self._serve_port, listener, address, scope)
        return uint32(bound) if port == 0 else b""

    def cancel(self, data: WireReader) -> bytes | None:
        """Answer cancel-tcpip-forward: only listeners of this connection can be named."""
        scope = self._listeners.pop((data.text(), data.uint32()), None)
        if scope is None:
            return None
        scope.cancel()
        return b""

    async def _serve_port(self, listener: socket.socket, address: str, scope: trio.CancelScope) -> None:
        port: int = listener.getsockname()[1]
        info = self._info(ChannelKind.TCPIP_FORWARD, format_target(address or "localhost", port))
        server = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
        try:
            async with server:
                await self._host.session_started(info)
                try:
                    with scope:
                        while True:
                            stream = await server.accept()
                            self._host.start_soon(self._forward, stream, address, port)
                finally:
                    await self._host.session_ended(info, SessionOutcome())
        finally:
            # Also when it could not be recorded: what is not served must not count.
            self._listeners.pop((address, port), None)

    async def _forward(self, stream: trio.SocketStream, address: str, port: int) -> None:
        try:
            origin = stream.socket.getpeername()
            data = string(address) + uint32(port) + string(origin[0]) + uint32(origin[1])
            channel = await self._connection.channels.open_channel("forwarded-tcpip", data)
        except (SshError, OSError):
            channel = None
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        if channel is None:
            await trio.aclose_forcefully(stream)
        else:
            await splice(channel, stream)


def format_target(host: str, port: int) -> str:
    """``host:port``, an IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def describe_dial_error(error: Exception) -> str:
    """One line for the user."""
    if isinstance(error, trio.TooSlowError):
        return "Connection timed out"
    if error.__cause__ is not None:
        error = _first_leaf(error.__cause__) or error
    if isinstance(error, socket.gaierror):
        return error.strerror or "the host is not known"
    return os.strerror(error.errno) if isinstance(error, OSError) and error.errno else str(error)


def _first_leaf(error: BaseException) -> Exception | None:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error if isinstance(error, Exception) else None


async def _dial(host: str, port: int) -> trio.SocketStream:
    """The first of the host's addresses that answers. :exc:`OSError` when none does."""
    try:
        limiter = _dns_limiter.get()
    except LookupError:
        limiter = trio.CapacityLimiter(DNS_THREADS)
        _dns_limiter.set(limiter)
    found = await trio.to_thread.run_sync(
        lambda: socket.getaddrinfo(host, port, type=socket.SOCK_STREAM),
        limiter=limiter,
        abandon_on_cancel=True,
    )
    problem: OSError | None = None
    for address in dict.fromkeys(str(entry[4][0]) for entry in found):
        try:
            return await trio.open_tcp_stream(address, port)
        except OSError as error:
            problem = problem or error
    raise problem or OSError("the host has no address")


def _listen_on_loopback(port: int) -> socket.socket | None:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setblocking(False)
        listener.bind(("127.0.0.1", port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        return None
    return listener
