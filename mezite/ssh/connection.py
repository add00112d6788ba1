# SPDX-License-Identifier: Apache-2.0
"""The connection layer of an SSH server (RFC 4254) in Trio: tasks, deadlines, signs of life.

One task takes the messages that the transport's thread has decrypted and acts on them without ever waiting
for something a peer controls (threat A8); whatever takes time becomes a task of the connection's nursery.
What a channel or a request means is the handler's business.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

import attrs
import trio

from mezite.core.durations import format_duration
from mezite.ssh import messages
from mezite.ssh.algorithms import HostIdentity
from mezite.ssh.authentication import Authenticate, RefusedLogin
from mezite.ssh.channel import Channel
from mezite.ssh.channel_table import ChannelTable, OpenRequest
from mezite.ssh.errors import (
    AuthenticationRefusedError,
    ConnectionLostError,
    IdleTooLongError,
    PeerProtocolError,
    SshError,
)
from mezite.ssh.limits import Slot, SshLimits, StartupLimiter
from mezite.ssh.login_dialogue import InfoResponse, LoginDialogue, ProofWanted, Prove
from mezite.ssh.mailbox import Mailbox, TrioWaker
from mezite.ssh.messages import ConnectionMessage
from mezite.ssh.policy import Refusal, SshGrant
from mezite.ssh.thread_bridge import ThreadBridge
from mezite.ssh.transport import Authenticated, KeyExchange, ServerTransport, TransportEnded
from mezite.ssh.wire import WireReader

__all__ = ["Admission", "ConnectionHandler", "ServerConnection"]

_log = logging.getLogger("mezite.ssh")
#: The transport's thread has nothing to wait for once the bridge is closed; this is far longer than it needs.
_JOIN_SECONDS = 5.0
#: Long against the microseconds that it takes on an idle machine, short for whoever waits.
_JOIN_LOOK_SECONDS = 0.002
_DATA = frozenset({ConnectionMessage.CHANNEL_DATA, ConnectionMessage.CHANNEL_EXTENDED_DATA})


@attrs.frozen
class Admission:
    """How a connection is let in before anybody knows whose it is, and who is told when one does."""

    limiter: StartupLimiter | None
    source: str
    """The client's address."""
    on_authenticated: Callable[[SshGrant], None] | None = None
    prove: Prove | None = None
    """Asked where a certificate is not enough; without it nobody gets in then."""


class ConnectionHandler(Protocol):
    """What makes a node server or a jump server of a connection. All methods are called in the Trio
    thread.
    """

    def authenticated(self, grant: SshGrant) -> None:
        """The client is in; called once, before any channel."""

    def login_refused(self, refused: RefusedLogin) -> None:
        """The holder of a genuine certificate was refused."""

    def open_channel(self, request: OpenRequest) -> None:
        """Answer now or start a task that does."""

    def global_request(self, name: str, data: WireReader) -> bytes | None:
        """The data of a positive reply, or ``None`` for a negative one."""


class ServerConnection:
    """One SSH connection. :meth:`run` does everything; the other methods are for the handler and channels."""

    def __init__(
        self,
        stream: trio.abc.Stream,
        *,
        host: HostIdentity,
        authenticate: Authenticate,
        handler: ConnectionHandler,
        limits: SshLimits,
    ) -> None:
        self._stream = stream
        self._handler = handler
        self._limits = limits
        wake = TrioWaker()
        self._bridge = ThreadBridge(stream, wake, limits)
        self._mailbox = Mailbox(wake)
        self._transport = ServerTransport(
            self._bridge, self._mailbox, wake, host=host, authenticate=authenticate, limits=limits
        )
        self._nursery: trio.Nursery | None = None
        self._watchdog = trio.CancelScope()
        self._login_done = False
        self._questions = 0
        self._last_data = 0.0
        self._ended = False
        self.channels = ChannelTable(self, limits)
        self._slot: Slot | None = None
        self._admission = Admission(None, "")
        self._dialogue: LoginDialogue | None = None
        self.error: Exception | None = None
        """Why the connection ended, when not by the peer's wish."""

    # ---- life -------------------------------------------------------------------------------------------

    async def run(self, admission: Admission) -> None:
        """Serve until the peer leaves; :exc:`SshError` when it broke a rule, was silent too long or not let
        in.

        Owns the stream. When this returns or is cancelled, all tasks of the connection have ended, its thread
        has ended and the stream is closed; cancelled, the peer is not told.
        """
        self._admission = admission
        try:
            if admission.limiter is not None:
                self._slot = admission.limiter.take(
                    admission.source,
                    now=trio.current_time(),
                    dismiss=partial(self.disconnect, ConnectionLostError("others wait to log in")),
                )
            self._transport.start()
            async with trio.open_nursery() as outer:
                outer.start_soon(self._bridge.run)
                await self._run_tasks()
        finally:
            self._bridge.close()
            self._mailbox.close()
            await _join(self._transport)
            if self._slot is not None:
                self._slot.release()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + self._limits.flush_seconds):
                await self._stream.aclose()
        if self.error is not None:
            raise self.error

    async def _run_tasks(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._watch_deadlines)
                await self._dispatch()
                self.channels.lose_all()
                nursery.cancel_scope.cancel()
        finally:
            self.channels.lose_all()
            self._bridge.close()

    def disconnect(self, error: SshError) -> None:
        """End the connection and tell the peer why."""
        self.error = self.error or error
        self._transport.disconnect(error)

    def start_soon(self, function: Callable[..., Awaitable[None]], *args: object) -> None:
        """Run a task of this connection behind an error wall: what it raises is logged and ends only
        itself.
        """
        assert self._nursery is not None
        self._nursery.start_soon(self._guarded, function, *args)

    async def _guarded(self, function: Callable[..., Awaitable[None]], *args: object) -> None:
        try:
            await function(*args)
        except Exception:  # noqa: BLE001 - the error wall of a task
            _log.exception("a task of an SSH connection failed")

    async def _watch_deadlines(self) -> None:
        """The login grace timer and the limit of key exchanges, as one deadline that others move."""
        with self._watchdog as scope:
            if not self._login_done:
                scope.deadline = trio.current_time() + self._limits.login_grace_seconds
            await trio.sleep_forever()
        what = "key exchange" if self._login_done else "login"
        self.disconnect(ConnectionLostError(f"{what} took too long"))

    async def _keep_alive(self) -> None:
        while True:
            await trio.sleep(self._limits.keepalive_seconds)
            if self._questions >= self._limits.keepalive_missed:
                self.disconnect(ConnectionLostError("no sign of life from the client"))
                return
            self._questions += 1
            self.send(messages.global_request("keepalive@openssh.com", want_reply=True))

    async def _watch_idle(self) -> None:
        """End the connection when no channel has carried data for too long; what keeps it alive does not count."""
        self._last_data = trio.current_time()
        idle = self._limits.idle_seconds
        # No event: each byte moves the time, and setting one for each would cost more than looking.
        while (left := self._last_data + idle - trio.current_time()) > 0:  # noqa: ASYNC110
            await trio.sleep(left)
        limit = format_duration(int(idle))
        self.disconnect(
            IdleTooLongError(f"nothing was sent for {limit}, which is as long as your roles allow")
        )

    # ---- sending ----------------------------------------------------------------------------------------

    def send(self, payload: bytes) -> None:
        """Send a message; a closed connection swallows it, a peer that hangs in a key exchange is cut off."""
        try:
            self._transport.send_payload(payload)
        except EOFError:
            pass
        except PeerProtocolError as error:
            self.disconnect(error)

    def send_data(self, header: bytes, data: memoryview) -> bool:
        """Send channel data, or ``False`` when there is no room or a key exchange is running."""
        try:
            sent = self._bridge.writable and self._transport.send_data(header, data)
            if sent:
                self._last_data = trio.current_time()
            return sent
        except EOFError:
            raise trio.BrokenResourceError("the connection is closed") from None

    async def wait_sendable(self) -> None:
        """Wait until :meth:`send_data` may succeed."""
        if self._bridge.closed:
            raise trio.BrokenResourceError("the connection is closed")
        if self._bridge.writable and self._transport.accepts_data:
            await trio.lowlevel.checkpoint()
        else:
            await self._bridge.wait_writable()

    def forget(self, channel: Channel) -> None:
        """Both sides have closed ``channel``."""
        self.channels.forget(channel)

    # ---- receiving --------------------------------------------------------------------------------------

    async def _dispatch(self) -> None:
        while not self._ended:
            for item in await self._mailbox.receive():
                try:
                    self._receive_item(item)
                except SshError as error:
                    self.disconnect(error)

    def _receive_item(self, item: object) -> None:
        match item:
            case TransportEnded(error=error):
                self.error = self.error or error
                self._ended = True
            case _ if self.error is not None:
                pass  # already disconnected; only the end is waited for
            case bytes():
                self._questions = 0  # any message is a sign of life
                self._receive_message(item)
            case KeyExchange(running=running) if self._login_done:
                seconds = self._limits.key_exchange_seconds if running else math.inf
                self._watchdog.deadline = trio.current_time() + seconds
            case ProofWanted() | InfoResponse():
                self._receive_dialogue(item)
            case Authenticated(grant=grant):
                self._login_done = True
                self._watchdog.deadline = math.inf
                self._admit(grant)
                if self._limits.keepalive_seconds:
                    self.start_soon(self._keep_alive)
                if self._limits.idle_seconds:
                    self.start_soon(self._watch_idle)
            case RefusedLogin():
                self._handler.login_refused(item)

    def _receive_dialogue(self, item: ProofWanted | InfoResponse) -> None:
        if isinstance(item, ProofWanted):
            self._watchdog.deadline = trio.current_time() + self._limits.proof_seconds
            self.start_soon(self._hold_dialogue, item)
        elif self._dialogue is not None:
            self._dialogue.answered(item)

    async def _hold_dialogue(self, wanted: ProofWanted) -> None:
        self._dialogue = LoginDialogue(wanted.session_id, self._transport.authentication.send_question)
        refusal: Refusal | None = Refusal(message="nobody here can ask for what is missing")
        try:
            if self._admission.prove is not None:
                refusal = await self._admission.prove(wanted.grant, self._dialogue)
        except EOFError:
            return  # the client has left in the middle
        except Exception:  # noqa: BLE001 - logged; the answer is no
            _log.exception("the dialogue failed; access is denied")
        if refusal is None:
            self._transport.finish_authentication(wanted.grant)
            return
        self._handler.login_refused(RefusedLogin(wanted.grant.login, refusal.message))
        self.disconnect(AuthenticationRefusedError(refusal.message))

    def _admit(self, grant: SshGrant) -> None:
        if self._slot is not None:
            self._slot.release()
        if self._admission.on_authenticated is not None:
            self._admission.on_authenticated(grant)
        self._handler.authenticated(grant)

    def _receive_message(self, payload: bytes) -> None:
        kind = payload[0]
        if kind in _DATA:
            self._last_data = trio.current_time()
        reader = WireReader(payload, 1)
        if self.channels.receive(kind, reader):
            return
        if kind == ConnectionMessage.GLOBAL_REQUEST:
            name, want_reply = reader.text(), reader.boolean()
            answer = self._handler.global_request(name, reader)
            if want_reply:
                self.send(messages.global_reply(answer))
        elif kind not in (ConnectionMessage.REQUEST_SUCCESS, ConnectionMessage.REQUEST_FAILURE):
            raise PeerProtocolError(f"message {kind} is not part of the connection protocol")

    def receive_open(self, request: OpenRequest) -> None:
        """A client asks for a channel."""
        self._handler.open_channel(request)


async def _join(transport: ServerTransport) -> None:
    # The bridge is closed: the thread is on its way out. To get there it needs its turn at the interpreter, and
    # joining it would hold up all other connections until then; when hundreds are cut at once, for seconds.
    with trio.CancelScope(shield=True, deadline=trio.current_time() + _JOIN_SECONDS):
        while transport.is_alive():  # noqa: ASYNC110 - a thread that ends sets no event after it
            await trio.sleep(_JOIN_LOOK_SECONDS)
    if transport.is_alive():
        _log.error("a transport thread did not end")
