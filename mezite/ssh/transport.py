# SPDX-License-Identifier: Apache-2.0
"""The server side of the SSH transport: paramiko's key exchange in a thread, with a reading loop of our own.

Theory of operation. paramiko negotiates algorithms, runs the key exchanges and derives the keys; that is all
that is used of it. The loop here reads packets and passes each on by its number and the phase of the
connection, from an explicit list: everything else ends the connection (threat A1). Messages of the connection
protocol (80 and above) are not looked at but handed to the Trio side as they are.

Sending. Trio tasks and the thread both send, in order, under one lock. Between our KEXINIT and our NEWKEYS
nothing but key exchange may leave (RFC 4253 section 7.1): messages are then held, a bounded number of them,
and channel data is not accepted at all. Stock paramiko makes its own thread wait for the new keys that only
this thread can bring, and stands still for 30 s.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from typing import Any, cast

import attrs
import paramiko
from paramiko.message import Message
from paramiko.packet import NeedRekeyException
from paramiko.ssh_exception import SSHException

from mezite.ssh import algorithms
from mezite.ssh.authentication import Authenticate, UserAuthentication
from mezite.ssh.errors import PeerProtocolError, SshError
from mezite.ssh.limits import SshLimits
from mezite.ssh.mailbox import Mailbox, TrioWaker
from mezite.ssh.packetizer import AeadPacketizer
from mezite.ssh.policy import SshGrant
from mezite.ssh.thread_bridge import ThreadBridge
from mezite.ssh.wire import WireReader, string, uint32

__all__ = ["Authenticated", "ServerTransport", "TransportEnded"]

#: OpenSSH clients send eow@openssh.com and no-more-sessions@openssh.com only to servers that look like one;
#: without the first, `ssh node yes | head -1` never ends.
SOFTWARE_VERSION = "OpenSSH_9.9-mezite"

DISCONNECT, IGNORE, UNIMPLEMENTED, DEBUG, SERVICE_REQUEST, EXT_INFO = 1, 2, 3, 4, 5, 7
KEXINIT, NEWKEYS, USERAUTH_REQUEST, USERAUTH_SUCCESS, USERAUTH_INFO_RESPONSE = 20, 21, 50, 52, 61
KEX_METHOD = range(30, 50)
CONNECTION = range(80, 128)
#: Messages held during a key exchange: a reply to each of the packets that may still be in flight from an
#: honest peer.
HELD_MESSAGES = 4096
HELD_BYTES = 1024 * 1024


@attrs.frozen
class Authenticated:
    """The client has proven its key and the policy has granted the login."""

    grant: SshGrant


@attrs.frozen
class TransportEnded:
    """The last item: why the connection is over, ``None`` when the peer just left."""

    error: Exception | None


@attrs.frozen
class KeyExchange:
    """A key exchange has begun or ended; a deadline hangs on it."""

    running: bool


class ServerTransport(paramiko.Transport):
    """One connection's transport. Its items for the Trio side, in order: payloads (``bytes``) of the
    connection protocol,
    :class:`KeyExchange`, :class:`RefusedLogin`, :class:`ProofWanted` and :class:`InfoResponse`,
    :class:`Authenticated`, at last :class:`TransportEnded`.
    """

    _preferred_kex = algorithms.KEX
    _preferred_ciphers = algorithms.CIPHERS
    _preferred_macs = algorithms.MACS
    _preferred_keys = ("ssh-ed25519",)
    _preferred_pubkeys = algorithms.SIGNATURE_ALGORITHMS
    _preferred_compression = ("none",)
    _kex_info = algorithms.KEX_ENGINES
    _CLIENT_ID = SOFTWARE_VERSION
    # Waiting threads are woken by the bridge; only a rekey that a Trio task has made due is found by this
    # poll.
    _active_check_timeout = 5.0

    packetizer: AeadPacketizer  # type: ignore[assignment]
    agreed_on_strict_kex: bool
    _expected_packet: tuple[int, ...]

    def __init__(
        self,
        bridge: ThreadBridge,
        mailbox: Mailbox,
        wake: TrioWaker,
        *,
        host: algorithms.HostIdentity,
        authenticate: Authenticate,
        limits: SshLimits,
    ) -> None:
        super().__init__(cast("Any", bridge), packetizer_class=cast("Any", AeadPacketizer))
        self.logger = logging.getLogger("mezite.ssh.transport")
        self.name = "mezite-ssh"
        self._bridge = bridge
        self._mailbox = mailbox
        self._wake = wake
        self._limits = limits
        self._send_lock = threading.Lock()
        self._quiet = True
        self._held: list[bytes] = []
        self._held_size = 0
        self._peer_left = False
        self.packetizer.packet_limit = limits.unauthenticated_packet_bytes
        self.packetizer.rekey_bytes = limits.rekey_bytes
        self.server_mode = True
        self.server_key_dict = {algorithms.HOST_CERTIFICATE_TYPE: algorithms.HostCertKey(host)}
        self.authentication = UserAuthentication(
            authenticate,
            limits=limits,
            send=self.send_payload,
            refused=mailbox.deliver,
            tell=mailbox.deliver,
        )
        self.auth_handler = cast("Any", self)  # any but None, or _parse_newkeys makes paramiko's own
        self.active = True

    @property
    def preferred_keys(self) -> tuple[str, ...]:
        """Only the certificate: a plain key would be pinned by clients whose CA line does not match."""
        return (algorithms.HOST_CERTIFICATE_TYPE,)

    # ---- sending: any thread ----------------------------------------------------------------------------

    @property
    def accepts_data(self) -> bool:
        """Whether channel data may be sent: not during a key exchange."""
        return not self._quiet

    def send_payload(self, payload: bytes) -> None:
        """Send a message that is not part of key exchange; held while one is running.

        :exc:`PeerProtocolError` when too much is held: the peer keeps asking and does not finish the
        exchange.
        :exc:`EOFError` when the connection is closed.
        """
        with self._send_lock:
            if not self._quiet:
                self.packetizer.send_payload(payload)
                return
            if len(self._held) >= HELD_MESSAGES or self._held_size >= HELD_BYTES:
                raise PeerProtocolError("too much to answer during a key exchange")
            self._held.append(payload)
            self._held_size += len(payload)

    def send_data(self, header: bytes, data: bytes | memoryview) -> bool:
        """Send channel data at once, or say ``False`` during a key exchange: wait for it to end."""
        with self._send_lock:
            if self._quiet:
                return False
            self.packetizer.send_payload(header, data)
            return True

    def disconnect(self, error: SshError) -> None:
        """Tell the peer why and close. From any thread."""
        with contextlib.suppress(EOFError):
            self.packetizer.send_payload(
                bytes((DISCONNECT,)) + uint32(error.code) + string(str(error)[:200]) + string("")
            )
        self._bridge.close()

    def _send_kex_init(self) -> None:
        with self._send_lock:
            self._quiet = True
        self._mailbox.deliver(KeyExchange(running=True))
        super()._send_kex_init()  # type: ignore[misc]

    def _activate_outbound(self) -> None:
        super()._activate_outbound()  # type: ignore[misc]
        self.server_sig_algs = False  # EXT_INFO is legal after the first NEWKEYS only (threat A5)
        with self._send_lock:
            held, self._held, self._held_size = self._held, [], 0
            for payload in held:
                self.packetizer.send_payload(payload)
            self._quiet = False
        self._wake(self._bridge.recheck_writable)

    def _parse_newkeys(self, message: Message) -> None:
        super()._parse_newkeys(message)  # type: ignore[misc]
        self.in_kex = False
        self._mailbox.deliver(KeyExchange(running=False))

    def _parse_kex_init(self, message: Message) -> None:
        agreed = self.agreed_on_strict_kex
        super()._parse_kex_init(message)  # type: ignore[misc]
        if self.initial_kex_done:
            self.agreed_on_strict_kex = agreed  # only the first KEXINIT counts

    def abort(self) -> None:
        """What paramiko tells its authentication handler at the end; nothing waits for it here."""

    # ---- receiving: the thread --------------------------------------------------------------------------

    def run(self) -> None:
        """The thread: until the peer leaves, breaks the rules, or the bridge is closed."""
        error: Exception | None = None
        try:
            self._serve()
        except EOFError:
            pass
        except SshError as problem:
            error = problem
        except (SSHException, ValueError) as problem:  # ValueError: cryptography about bad key shares
            error = PeerProtocolError(str(problem) or type(problem).__name__)
        except Exception as problem:  # the top of a thread: logged, and the connection is closed
            self.logger.exception("unexpected error in an SSH connection")
            error = problem
        if isinstance(error, SshError):
            self.disconnect(error)
        self.active = False
        self.packetizer.close()
        self._mailbox.deliver(TransportEnded(error))

    def _serve(self) -> None:
        self.packetizer.write_all(f"{self.local_version}\r\n".encode())
        self.remote_version = self.packetizer.read_identification(self._limits.identification_bytes)
        if not self.remote_version.startswith(("SSH-2.0-", "SSH-1.99-")):
            raise PeerProtocolError("the first line is not one of SSH 2")
        self._send_kex_init()
        self._expected_packet = (KEXINIT,)
        while not self._peer_left:
            if self.packetizer.need_rekey() and not self.in_kex and not self._exchanging:
                self._send_kex_init()
            try:
                payload = self.packetizer.read_payload()
            except NeedRekeyException:
                continue
            self._receive(payload)

    @property
    def _exchanging(self) -> bool:
        """Whether the peer has to send a certain message of a key exchange next."""
        return bool(self._expected_packet)

    def _receive(self, payload: bytes) -> None:
        kind = payload[0]
        if kind == DISCONNECT:
            self._peer_left = True
        elif kind in (IGNORE, DEBUG, UNIMPLEMENTED):
            if self.agreed_on_strict_kex and not self.initial_kex_done:
                raise PeerProtocolError(f"message {kind} during a strict key exchange")
        elif self._exchanging:
            self._receive_expected(payload)
        elif kind == KEXINIT:
            self._start_key_exchange(payload)
        elif self.authenticated and kind in CONNECTION:
            self._mailbox.deliver(payload, len(payload))
        else:
            self._receive_authentication(payload)

    def _receive_expected(self, payload: bytes) -> None:
        kind = payload[0]
        if kind not in self._expected_packet:
            raise PeerProtocolError(f"message {kind} in the middle of a key exchange")
        self._expected_packet = ()
        if kind == KEXINIT:
            self._start_key_exchange(payload)
        elif kind == NEWKEYS:
            self._parse_newkeys(Message(payload[1:]))
        elif self.kex_engine is not None and kind in KEX_METHOD:
            self.kex_engine.parse_next(kind, Message(payload[1:]))
        else:
            raise PeerProtocolError(f"message {kind} is not part of a key exchange")

    def _start_key_exchange(self, payload: bytes) -> None:
        message = Message(payload[1:])
        message.seqno = self.packetizer.last_sequence
        self._negotiate_keys(message)  # type: ignore[attr-defined]

    def _receive_authentication(self, payload: bytes) -> None:
        kind = payload[0]
        if self.authenticated:
            if kind == USERAUTH_REQUEST:
                return  # to be ignored, says RFC 4252 section 5.1
            if kind in (SERVICE_REQUEST, EXT_INFO, NEWKEYS) or kind in KEX_METHOD:
                raise PeerProtocolError(f"message {kind} has no place after authentication")
            self.send_payload(bytes((UNIMPLEMENTED,)) + uint32(self.packetizer.last_sequence))
        elif kind == SERVICE_REQUEST:
            self.authentication.receive_service_request(WireReader(payload, 1))
        elif kind == USERAUTH_REQUEST:
            assert self.session_id is not None
            grant = self.authentication.receive_request(WireReader(payload, 1), self.session_id)
            if grant is not None:
                self.finish_authentication(grant)
        elif kind == USERAUTH_INFO_RESPONSE:
            self.authentication.receive_answers(WireReader(payload, 1))
        elif kind != EXT_INFO:
            raise PeerProtocolError(f"message {kind} before authentication")

    def finish_authentication(self, grant: SshGrant) -> None:
        """The only place that sets ``authenticated``: the thread after a certificate, Trio after a dialogue."""
        self._mailbox.deliver(Authenticated(grant))
        self.packetizer.packet_limit = self._limits.packet_bytes
        self.authenticated = True
        self.send_payload(bytes((USERAUTH_SUCCESS,)))

    # ---- paramiko's other doors, closed -----------------------------------------------------------------

    def is_authenticated(self) -> bool:
        """Whether the client has proven its key."""
        return self.authenticated
