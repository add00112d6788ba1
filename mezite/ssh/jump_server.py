# SPDX-License-Identifier: Apache-2.0
"""The hub's SSH server for stock clients (``ssh -J``, ``ssh -W``): a way through to a node by its name.

It decrypts only its own hop. What flows through is the client's SSH connection to the node, which the node's
own server decrypts.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable

import attrs
import trio

from mezite.ssh import messages
from mezite.ssh.algorithms import HostIdentity
from mezite.ssh.authentication import RefusedLogin
from mezite.ssh.channel import Channel
from mezite.ssh.channel_table import OpenRequest
from mezite.ssh.connection import Admission, ServerConnection
from mezite.ssh.errors import SshError
from mezite.ssh.limits import SshLimits, StartupLimiter
from mezite.ssh.messages import OpenFailure
from mezite.ssh.policy import ChannelKind, NodePolicy, PeerAddress, SshGrant
from mezite.ssh.relay import splice
from mezite.ssh.wire import WireReader

__all__ = ["JumpService", "NodeUnreachable", "OpenNode", "serve_jump_ssh"]

_log = logging.getLogger("mezite.ssh")

#: Names of nodes; an address is none, and nothing here is ever resolved.
_NODE_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]{0,251}[A-Za-z0-9_])?")
_NO_SESSIONS = "This is a mezite hub: it has no shell. Connect to a node through it: ssh -J HUB NODE\r\n"


class NodeUnreachable(Exception):
    """Raised by ``open_node``; the text is for the user."""


OpenNode = Callable[[SshGrant, str, int], Awaitable[trio.abc.Stream]]


@attrs.frozen(kw_only=True)
class JumpService:
    """What all connections of a hub's SSH port share."""

    host: HostIdentity
    """The certificate's principals must hold the hub's public name."""
    clock: Callable[[], float]
    """Wall clock, seconds since the epoch: only for the validity of certificates."""
    limits: SshLimits = attrs.field(factory=SshLimits)
    startup: StartupLimiter | None = None


async def serve_jump_ssh(
    stream: trio.abc.Stream,
    service: JumpService,
    *,
    policy: NodePolicy,
    open_node: OpenNode,
    peer: PeerAddress,
    on_authenticated: Callable[[SshGrant], None] | None = None,
) -> None:
    """Serve one connection; owns ``stream``.

    ``open_node`` gets the grant, the node's name and the port, and returns a stream to the node's SSH server
    or
    raises :exc:`NodeUnreachable`. When such a stream raises :exc:`WayEndedError` and nothing else is open, the client
    is disconnected with these words. Returns when the client has left; :exc:`SshError` says why the connection
    was ended otherwise. Nothing of the connection is left when this returns or is cancelled.
    """
    server = _JumpConnection(service, policy, open_node)
    connection = ServerConnection(
        stream,
        host=service.host,
        authenticate=policy.authenticate,
        handler=server,
        limits=service.limits,
    )
    server.attach(connection)
    await connection.run(Admission(service.startup, peer.client_ip, on_authenticated))


class _JumpConnection:
    """The handler of one connection."""

    def __init__(self, service: JumpService, policy: NodePolicy, open_node: OpenNode) -> None:
        self._service = service
        self._policy = policy
        self._open_node = open_node
        self._ways = 0
        self._connection: ServerConnection
        self._grant: SshGrant

    def attach(self, connection: ServerConnection) -> None:
        """The connection this is the handler of."""
        self._connection = connection

    def authenticated(self, grant: SshGrant) -> None:
        """Logged in."""
        self._grant = grant

    def login_refused(self, refused: RefusedLogin) -> None:
        """The policy's owner records it."""
        _log.info("login %s refused: %s", refused.login, refused.message)

    def global_request(self, name: str, data: WireReader) -> bytes | None:
        """None is served."""
        return None

    def open_channel(self, request: OpenRequest) -> None:
        """Only ways through; a session is answered with an explanation."""
        if request.kind == "session":
            channel = request.confirm()
            channel.on_request = _Explanation(channel, self._connection).receive_request
        elif request.kind == "direct-tcpip":
            self._open_way(request)
        else:
            request.refuse(OpenFailure.UNKNOWN_TYPE, f"no channels of type {request.kind!r} here")

    def _open_way(self, request: OpenRequest) -> None:
        node, port = request.data.text(), request.data.uint32()
        if not _NODE_NAME.fullmatch(node) or port not in range(1, 65536):
            request.refuse(OpenFailure.CONNECT_FAILED, "that is not the name of a node")
            return
        refusal = self._refusal(f"{node}:{port}")
        if refusal is not None:
            request.refuse(OpenFailure.PROHIBITED, refusal)
        else:
            self._connection.start_soon(self._run_way, request, node, port)

    def _refusal(self, target: str) -> str | None:
        if self._service.clock() >= self._grant.expires_at:
            return "the certificate has expired; log in again"
        try:
            refusal = self._policy.authorize_channel(self._grant, ChannelKind.DIRECT_TCPIP, target)
        except Exception:  # noqa: BLE001 - logged; the answer is no
            _log.exception("the policy failed; access is denied")
            return "the policy failed"
        return refusal.message if refusal else None

    async def _run_way(self, request: OpenRequest, node: str, port: int) -> None:
        try:
            with trio.fail_after(self._service.limits.dial_seconds):
                stream = await self._open_node(self._grant, node, port)
        except NodeUnreachable as error:
            request.refuse(OpenFailure.CONNECT_FAILED, str(error))
            return
        except trio.TooSlowError:
            request.refuse(OpenFailure.CONNECT_FAILED, f"node {node} did not answer in time")
            return
        except Exception:
            request.refuse(OpenFailure.CONNECT_FAILED, f"the way to node {node} failed")
            raise
        try:
            channel = request.confirm()
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        self._ways += 1
        try:
            await splice(channel, stream, say=self._say)
        finally:
            self._ways -= 1

    def _say(self, words: str) -> None:
        """The end of a channel carries no words; that of the connection does, and clients print them."""
        if self._ways == 1:
            self._connection.disconnect(SshError(words))


class _Explanation:
    """A session on the hub: says what the hub is, and ends with status 1."""

    def __init__(self, channel: Channel, connection: ServerConnection) -> None:
        self._channel = channel
        self._connection = connection
        self._done = False

    def receive_request(self, name: str, _data: WireReader) -> bool:
        """A terminal is "granted", or clients complain about that first."""
        if name in ("shell", "exec", "subsystem") and not self._done:
            self._done = True
            self._connection.start_soon(self._explain)
            return True
        return name == "pty-req"

    async def _explain(self) -> None:
        channel = self._channel
        try:
            await channel.send_stderr(_NO_SESSIONS.encode())
            channel.send_request(messages.exit_status(channel.remote_id, 1))
            channel.send_eof_nowait()
        finally:
            channel.close()
