# SPDX-License-Identifier: Apache-2.0
"""Stock OpenSSH on port 3023: `ssh -J USER@HUB:3023 LOGIN@NODE`, or `ssh -W NODE:22` as a ProxyCommand.

The hub ends only the outer hop, which carries nothing but the encrypted connection to the node.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs
import trio

from mezite.core.certificates.refusal import CertificateRefused
from mezite.core.certificates.ssh_verify import verify_user_certificate
from mezite.core.certificates.verified import VerifiedUserCertificate
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.names import node_name_in
from mezite.net.addresses import host_of, split_host_port
from mezite.net.mux_channel import ChannelResetError
from mezite.services.authentication.authenticator import Authenticator
from mezite.services.authentication.credential_refusals import CredentialRefusals
from mezite.services.authorities.certificate_authority import CertificateAuthorities
from mezite.services.errors import RefusedError
from mezite.services.identity.identities import UserIdentity
from mezite.services.nodes.access import NodeAccess
from mezite.services.sources import Sources
from mezite.ssh.algorithms import HostIdentity
from mezite.ssh.errors import SshError
from mezite.ssh.jump_server import JumpService, NodeUnreachable, serve_jump_ssh
from mezite.ssh.limits import StartupLimiter
from mezite.ssh.policy import ChannelKind, PeerAddress, Refusal, SshGrant
from mezite.ssh.relay import WayEndedError

__all__ = ["UserSshHandler"]

_log = logging.getLogger("mezite.jump")


@attrs.define(eq=False, kw_only=True)
class UserSshHandler:
    """Serves the stock SSH clients of one listener."""

    authorities: CertificateAuthorities
    authenticator: Authenticator
    access: NodeAccess
    refusals: CredentialRefusals
    sources: Sources
    cluster: str
    """Its name: users may call a node NODE.CLUSTER, as in what `msh config` prints."""
    host_identity: Callable[[], HostIdentity]
    """Asked at each connection: certificates are renewed while the hub runs."""
    startup: StartupLimiter = attrs.field(factory=StartupLimiter)

    async def serve(
        self, stream: trio.abc.Stream, client_address: str, established: Callable[[], None]
    ) -> None:
        """Serve one connection; owns `stream`. Cancelling closes it at once."""
        policy = _JumpPolicy(self.authorities, self.sources, host_of(client_address))
        try:
            await self._serve(stream, client_address, policy, established)
        finally:
            for message in policy.refused:
                await self.refusals.record(message, client_address, "ssh")

    async def _serve(
        self,
        stream: trio.abc.Stream,
        client_address: str,
        policy: _JumpPolicy,
        established: Callable[[], None],
    ) -> None:
        host, port = split_host_port(client_address, 0)
        peer = PeerAddress(client_ip=host, client_port=port)
        service = JumpService(
            host=self.host_identity(), clock=lambda: self.sources.now() / 1000, startup=self.startup
        )
        async with trio.open_nursery() as nursery:
            nodes = _NodeOpener(self, policy, client_address, nursery)
            try:
                await serve_jump_ssh(
                    stream,
                    service,
                    policy=policy,
                    open_node=nodes.open,
                    peer=peer,
                    on_authenticated=lambda _grant: established(),
                )
            except SshError as error:
                _log.info("connection ended", extra={"client": client_address, "reason": str(error)})
            nursery.cancel_scope.cancel()


class _JumpPolicy:
    """Any genuine certificate gets as far as naming a node; which node it may reach is decided then."""

    def __init__(self, authorities: CertificateAuthorities, sources: Sources, client_ip: str) -> None:
        self._authorities = authorities
        self._sources = sources
        self._client_ip = client_ip
        self.verified: dict[str, VerifiedUserCertificate] = {}
        """By serial: the certificate behind each grant that was given."""
        self.refused: dict[str, None] = {}
        """Why certificates were refused, each reason once; a connection has few attempts."""

    def authenticate(self, login: str, certificate: bytes) -> SshGrant | Refusal:
        """Accept a user certificate whose user is the one that the client calls itself."""
        try:
            verified = verify_user_certificate(
                certificate,
                trusted_cas=self._authorities.user_ssh_ca_blobs,
                login=None,
                source_address=self._client_ip,
                now=self._sources.now() // 1000,
                honours_force_command=True,
            )
        except CertificateRefused as refused:
            self.refused[refused.message] = None
            return Refusal(message=refused.message)
        if login != verified.key_id:
            text = f"you are {verified.key_id} here: connect as {verified.key_id}@HUB and name the login at the node"
            self.refused[text] = None
            return Refusal(message=text, explain=True)
        serial = str(verified.serial)
        self.verified[serial] = verified
        return SshGrant(
            user=verified.key_id,
            login=login,
            certificate_id=serial,
            expires_at=float(verified.valid_before),
        )

    def authorize_channel(self, grant: SshGrant, kind: ChannelKind, target: str) -> Refusal | None:
        """Only ways through; the node behind is decided on when it is opened."""
        if kind is ChannelKind.DIRECT_TCPIP:
            return None
        return Refusal(message="a hub only passes connections on to nodes", explain=True)


class _NodeOpener:
    """Opens nodes for one connection and holds each open for as long as its stream."""

    def __init__(
        self, handler: UserSshHandler, policy: _JumpPolicy, client_address: str, nursery: trio.Nursery
    ) -> None:
        self._handler = handler
        self._policy = policy
        self._client_address = client_address
        self._nursery = nursery

    async def open(self, grant: SshGrant, node_name: str, _port: int) -> trio.abc.Stream:
        """:raises NodeUnreachable: with the text for the user."""
        try:
            verified = self._policy.verified[grant.certificate_id]
            async with self._handler.refusals.recorded(self._client_address, "ssh"):
                identity = await self._handler.authenticator.by_ssh_certificate(verified)
            node = node_name_in(node_name, self._handler.cluster)
            stream: trio.abc.Stream = await self._nursery.start(self._hold, identity, node)
        except RefusedError as refused:
            raise NodeUnreachable(str(refused)) from None
        return stream

    async def _hold(
        self,
        identity: UserIdentity,
        node_name: str,
        *,
        task_status: trio.TaskStatus[trio.abc.Stream],
    ) -> None:
        connecting = self._handler.access.connect(
            identity, node_name, login=None, client_address=self._client_address
        )
        async with connecting as channel:
            held = _HeldStream(channel)
            task_status.started(held)
            await held.closed.wait()


@contextmanager
def _words_of_the_hub() -> Iterator[None]:
    """A connection that was cut says why (threat E14): pass it on in the words of SSH."""
    try:
        yield
    except ChannelResetError as reset:
        if reset.code is ErrorCode.REFUSED:
            raise WayEndedError(reset.text) from None
        raise


class _HeldStream(trio.abc.HalfCloseableStream):
    """A stream that says when it is closed."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self._stream = stream
        self.closed = trio.Event()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """As the stream underneath."""
        with _words_of_the_hub():
            await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """As the stream underneath."""
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """As the stream underneath."""
        with _words_of_the_hub():
            return await self._stream.receive_some(max_bytes)

    async def send_eof(self) -> None:
        """As the stream underneath."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """Close the stream underneath and say so."""
        try:
            await self._stream.aclose()
        finally:
            self.closed.set()
