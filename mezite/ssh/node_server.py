# SPDX-License-Identifier: Apache-2.0
"""The SSH server of a node: sessions, forwarding, each thing only after the policy's yes."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import attrs
import trio

from mezite.ssh.algorithms import HostIdentity
from mezite.ssh.authentication import RefusedLogin
from mezite.ssh.channel_table import OpenRequest
from mezite.ssh.connection import Admission, ServerConnection
from mezite.ssh.errors import IdleTooLongError, SshError
from mezite.ssh.forwarding import Forwarding
from mezite.ssh.limits import SshLimits, StartupLimiter
from mezite.ssh.login_dialogue import Prove
from mezite.ssh.messages import OpenFailure
from mezite.ssh.policy import (
    ChannelKind,
    NodePolicy,
    PeerAddress,
    Refusal,
    RefusalInfo,
    SessionHooks,
    SessionInfo,
    SessionOutcome,
    SshGrant,
)
from mezite.ssh.session import SessionChannel, find_sftp_server
from mezite.ssh.spawn import ProcessSpawner
from mezite.ssh.wire import WireReader

__all__ = ["HostIdentity", "NodeService", "serve_node_ssh"]

_log = logging.getLogger("mezite.ssh")

#: Refusals that wait for a slow hook; a client that provokes more is not recorded each time.
_REFUSALS = 64
#: For hooks that run while everything is being cancelled.
_LAST_HOOK_SECONDS = 5.0


@attrs.frozen(kw_only=True)
class NodeService:
    """What all connections of a node share."""

    host: HostIdentity
    hooks: SessionHooks
    spawner: ProcessSpawner
    clock: Callable[[], float]
    """Wall clock, seconds since the epoch: only for the validity of certificates."""
    new_session_id: Callable[[], str]
    limits: SshLimits = attrs.field(factory=SshLimits)
    startup: StartupLimiter | None = None
    sftp_server: str | None = attrs.field(factory=find_sftp_server)


async def serve_node_ssh(
    stream: trio.abc.Stream,
    service: NodeService,
    *,
    policy: NodePolicy,
    peer: PeerAddress,
    on_authenticated: Callable[[SshGrant], None] | None = None,
    prove: Prove | None = None,
) -> None:
    """Serve one connection; owns ``stream``. ``prove`` is asked where the policy says that a certificate is
    not enough.

    Returns when the client has left; :exc:`SshError` says why the connection was ended otherwise. When this
    returns or is cancelled no task, thread, descriptor or program of the connection is left, except programs
    that made themselves independent of their session after its shell had ended.
    """
    server = _NodeConnection(service, policy, peer)
    connection = ServerConnection(
        stream,
        host=service.host,
        authenticate=policy.authenticate,
        handler=server,
        limits=service.limits,
    )
    server.attach(connection)
    await connection.run(Admission(service.startup, peer.client_ip, on_authenticated, prove))


class _NodeConnection:
    """The handler of one connection and the host of its sessions."""

    def __init__(self, service: NodeService, policy: NodePolicy, peer: PeerAddress) -> None:
        self._service = service
        self._policy = policy
        self._connection: ServerConnection
        self._forwarding: Forwarding
        self._sessions = 0
        self._no_more_sessions = False
        self._refusals_in, self._refusals_out = trio.open_memory_channel[RefusalInfo](_REFUSALS)
        self._telling = False
        self.grant: SshGrant
        self.limits = service.limits
        self.peer = peer
        self.spawner = service.spawner
        self.sftp_server = service.sftp_server

    def attach(self, connection: ServerConnection) -> None:
        """The connection this is the handler of."""
        self._connection = connection
        self._forwarding = Forwarding(self, connection)

    # ---- ConnectionHandler ------------------------------------------------------------------------------

    def authenticated(self, grant: SshGrant) -> None:
        """Logged in."""
        self.grant = grant

    def login_refused(self, refused: RefusedLogin) -> None:
        """Tell the hooks."""
        self._refuse(
            RefusalInfo(
                login=refused.login,
                user=None,
                kind=None,
                target="",
                message=refused.message,
                client=self.peer,
            )
        )

    def open_channel(self, request: OpenRequest) -> None:
        """Sessions and connections from the node; nothing else exists."""
        if request.kind == "session":
            self._open_session(request)
        elif request.kind == "direct-tcpip":
            self._forwarding.open_direct(request)
        else:
            request.refuse(OpenFailure.UNKNOWN_TYPE, f"no channels of type {request.kind!r} here")

    def global_request(self, name: str, data: WireReader) -> bytes | None:
        """Ports for ``-R``, and a client's promise to open no more sessions."""
        if name == "no-more-sessions@openssh.com":
            self._no_more_sessions = True
            return b""
        if name == "tcpip-forward":
            return self._forwarding.listen(data)
        if name == "cancel-tcpip-forward":
            return self._forwarding.cancel(data)
        return None

    def _open_session(self, request: OpenRequest) -> None:
        if self._no_more_sessions:
            self._connection.disconnect(SshError("a session was opened after the promise to open no more"))
            return
        if self._sessions >= self.limits.sessions:
            request.refuse(OpenFailure.RESOURCE_SHORTAGE, f"{self.limits.sessions} sessions are open already")
            return
        refusal = self.authorize(ChannelKind.SESSION, "")
        if refusal is not None:
            request.refuse(OpenFailure.PROHIBITED, refusal.message)
            return
        channel = request.confirm()
        self._sessions += 1
        SessionChannel(channel, self)
        self.start_soon(self._count_session, channel.peer_closed.wait)

    async def _count_session(self, wait_closed: Callable[[], Awaitable[None]]) -> None:
        try:
            await wait_closed()
        finally:
            self._sessions -= 1

    # ---- SessionHost and ForwardingHost -----------------------------------------------------------------

    def authorize(self, kind: ChannelKind, target: str) -> Refusal | None:
        """The policy's answer now; an expired certificate and a policy that fails are a no."""
        refusal: Refusal | None
        if self._service.clock() >= self.grant.expires_at:
            refusal = Refusal(message="the certificate has expired; log in again")
        else:
            try:
                refusal = self._policy.authorize_channel(self.grant, kind, target)
            except Exception:  # noqa: BLE001 - logged; the answer is no
                _log.exception("the policy failed; access is denied")
                refusal = Refusal(message="the policy failed")
        if refusal is not None:
            self.record_refusal(kind, target, refusal.message)
        return refusal

    def record_refusal(self, kind: ChannelKind, target: str, message: str) -> None:
        """Tell the hooks of a no."""
        self._refuse(
            RefusalInfo(
                login=self.grant.login,
                user=self.grant.user,
                kind=kind,
                target=target,
                message=message,
                client=self.peer,
            )
        )

    def _refuse(self, info: RefusalInfo) -> None:
        if not self._telling:
            self._telling = True
            self.start_soon(self._tell_refusals)
        try:
            self._refusals_in.send_nowait(info)
        except trio.WouldBlock:
            _log.warning("a client provokes refusals faster than they can be recorded")

    async def _tell_refusals(self) -> None:
        async for info in self._refusals_out:
            await self._service.hooks.refused(info)

    def start_soon(self, function: Callable[..., Awaitable[None]], *args: object) -> None:
        """Run a task of the connection."""
        self._connection.start_soon(function, *args)

    async def session_started(self, info: SessionInfo) -> None:
        """Pass to the hooks; what they raise prevents the session."""
        await self._service.hooks.session_started(info)

    async def session_ended(self, info: SessionInfo, outcome: SessionOutcome) -> None:
        """Pass to the hooks, also when everything is being cancelled; what they raise is logged."""
        if isinstance(self._connection.error, IdleTooLongError):
            outcome = attrs.evolve(outcome, error=str(self._connection.error))
        try:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + _LAST_HOOK_SECONDS):
                await self._service.hooks.session_ended(info, outcome)
        except Exception:  # noqa: BLE001 - logged; the answer is no
            _log.exception("the end of a session could not be recorded")

    def new_session_id(self) -> str:
        """A fresh id."""
        return self._service.new_session_id()

    def request_agent_forwarding(self, session: SessionChannel) -> bool:
        """Not offered yet."""
        return False
