# SPDX-License-Identifier: Apache-2.0
"""TLS on any Trio stream, built for bulk transfer.

Theory of operation. ``ssl.SSLObject`` works on two ``MemoryBIO`` s and never sees the transport. What costs
time in Python is the number of steps per byte, so:

- one wake-up reads as much ciphertext as the socket has (up to sixteen full records) and feeds it at once;
- all complete records are then decrypted in a tight loop into one buffer, without an await between them;
- one ``send_all`` encrypts a whole chunk and hands it to the transport without an await in between, as long as the
  kernel takes it.

Two rules keep it safe:

- **A write that did not finish ends the stream** (threats P1, P2). Once bytes are encrypted their record
  numbers are spent; if the transport took only a prefix, whatever follows would be garbage to the peer. So a
  cancelled or failed write closes the transport, and both ends see an error rather than silent loss.
- **Reading never writes.** What the library wants to say in reply to a record (TLS 1.3 key updates) waits in
  the outgoing BIO for the next send. Otherwise a receive could block behind a peer that does not read, and
  two such peers would wait for each other for ever.
"""

from __future__ import annotations

import contextlib
import enum
import ssl
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from functools import partial
from typing import TypeVar

import trio

from .byte_streams import discard_unsent, receive_limit
from .conflict_detector import ConflictDetector
from .direct_socket import PromptPath
from .shared_buffer import SharedBuffer
from .tls_engine import RECEIVE_BYTES, TLS_CHUNK_BYTES, Ciphertext, TlsEngine, TlsError, describe_tls_failure

__all__ = ["TLS_CHUNK_BYTES", "TlsError", "TlsStream"]

_ciphertext = SharedBuffer("tls_ciphertext", RECEIVE_BYTES)
_Plaintext = TypeVar("_Plaintext", bytes | bytearray, int)

#: How long a graceful close may wait for a peer that does not read (seconds). The close_notify is 24 bytes:
#: if the socket cannot take them in this time, nobody is listening.
CLOSE_SECONDS = 2.0

#: Read at a time in a handshake: one full record. What a client sends behind its last message would otherwise count
#: against the bytes that a stranger may send, and an upload on a fresh connection was cut for it.
HANDSHAKE_READ_BYTES = 17 * 1024

_PEER_IS_GONE = (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError)


class _State(enum.Enum):
    NEW = enum.auto()
    OPEN = enum.auto()
    BROKEN = enum.auto()
    CLOSED = enum.auto()


class TlsStream(trio.abc.HalfCloseableStream):
    """A TLS session over ``transport``, which it owns from now on.

    Call :meth:`do_handshake` first; before it, sending and receiving raise :exc:`RuntimeError`, so that
    nobody can talk to a peer that was not looked at.

    ``server_hostname`` is sent as SNI and, when the context checks host names, verified.

    Half-close uses close_notify in one direction (RFC 8446 section 6.1); it is understood by TLS 1.3 peers.
    """

    def __init__(
        self,
        transport: trio.abc.Stream,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        server_hostname: str | None = None,
    ) -> None:
        self._transport = transport
        self._engine = TlsEngine(context, server_side=server_side, server_hostname=server_hostname)
        self._state = _State.NEW
        self._eof_sent = False
        self._receives = 0
        self._transport_path = PromptPath(transport)
        self._sending = ConflictDetector("another task is sending on this TLS stream")
        self._receiving = ConflictDetector("another task is receiving on this TLS stream")

    # -- what the handshake agreed on

    @property
    def transport(self) -> trio.abc.Stream:
        """The stream underneath. Reading from it or writing to it destroys the session."""
        return self._transport

    @property
    def alpn(self) -> str | None:
        """The application protocol both sides agreed on (RFC 7301), or None."""
        return self._engine.tls.selected_alpn_protocol()

    @property
    def version(self) -> str | None:
        """``TLSv1.3`` and so on; None before the handshake."""
        return self._engine.tls.version()

    def peer_certificate(self) -> bytes | None:
        """The peer's certificate as DER, or None when it sent none (or before the handshake)."""
        if self._state is _State.NEW:
            return None
        return self._engine.tls.getpeercert(binary_form=True)

    # -- handshake

    async def do_handshake(self, turn: Callable[[], AbstractAsyncContextManager[None]] = nullcontext) -> None:
        """Run the handshake; a second call on an open stream does nothing.

        Each step that costs processor time happens inside a ``turn()``, which is not held while waiting for the peer.

        Raises :exc:`TlsError` when the peer or its certificate is refused or the connection ends, and
        whatever the transport raises. The caller sets the deadline; a cancelled or failed handshake leaves
        the stream dead and the transport closed.

        In TLS 1.3 a client finishes before the server has judged its certificate: a refusal then shows as
        a :exc:`TlsError` of the first receive.
        """
        if self._state is not _State.NEW:
            self._check_open()
            await trio.lowlevel.checkpoint()
            return
        try:
            with self._sending, self._receiving:
                await self._handshake_rounds(turn)
        except BaseException:
            await self._break()
            raise
        self._state = _State.OPEN

    async def _handshake_rounds(self, turn: Callable[[], AbstractAsyncContextManager[None]]) -> None:
        while True:
            try:
                async with turn():
                    self._engine.tls.do_handshake()
            except ssl.SSLWantReadError:
                await self._flush()
            except ssl.SSLError as error:
                # The alert tells the peer why; it may not be listening any more.
                with trio.move_on_after(CLOSE_SECONDS), contextlib.suppress(*_PEER_IS_GONE):
                    await self._flush()
                raise TlsError(describe_tls_failure(error)) from error
            except ValueError as error:
                # CPython raises this for certificates whose names it cannot decode.
                raise TlsError("unusable certificate") from error
            else:
                await self._flush()
                return
            data = await self._transport.receive_some(HANDSHAKE_READ_BYTES)
            if not data:
                raise TlsError("the connection ended during the handshake")
            self._engine.incoming.write(data)

    # -- receiving

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """Plaintext as soon as there is some: 1 to ``max_bytes`` bytes (None: one step); empty at the end.

        The end is the peer's close_notify. A transport that ends without one was cut by someone, so that
        raises :exc:`TlsError` (``truncated``). Cancelling loses nothing.
        """
        limit = receive_limit(max_bytes, TLS_CHUNK_BYTES)
        before = self._receives
        plaintext = await self._receive(partial(self._engine.take, limit))
        if self._receives == before:
            await trio.lowlevel.cancel_shielded_checkpoint()
        return plaintext

    async def receive_into(self, buffer: bytearray) -> int:
        """As ``receive_some(len(buffer))``, into ``buffer``; returns how many bytes.

        ``buffer`` is written after the last await, so that all streams of a run may share one. What arrived
        together with the last piece is handed out without a checkpoint.
        """
        return await self._receive(partial(self._engine.take_into, buffer))

    async def _receive(self, take: Callable[[Ciphertext], _Plaintext]) -> _Plaintext:
        data: Ciphertext = b""
        with self._receiving:
            self._check_open()
            await trio.lowlevel.checkpoint_if_cancelled()
            while True:
                try:
                    plaintext = take(data)
                except TlsError:
                    self._state = _State.BROKEN
                    raise
                if plaintext or self._engine.eof_received:
                    return plaintext
                self._receives += 1
                try:
                    data = await self._transport_path.receive(_ciphertext)
                except trio.ClosedResourceError:
                    self._check_open()
                    raise
                self._check_open()
                if not data:
                    self._state = _State.BROKEN
                    raise TlsError("truncated: the connection ended without close_notify")

    # -- sending

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Encrypt and send ``data``.

        Raises :exc:`trio.BrokenResourceError` when the peer is gone or an earlier write was cut short.
        Cancelled before anything was encrypted, the stream stays usable; later, it is dead and its
        transport closed, since an unknown part of a record may be on the wire (threats P1, P2).
        """
        waited = False
        with self._sending:
            self._check_sendable()
            await trio.lowlevel.checkpoint_if_cancelled()
            with memoryview(data).cast("B") as view:
                for start in range(0, len(view), TLS_CHUNK_BYTES):
                    waited |= await self._send_step([view[start : start + TLS_CHUNK_BYTES]])
        if not waited:
            await trio.lowlevel.cancel_shielded_checkpoint()

    async def send_parts(self, parts: Sequence[bytes | bytearray | memoryview]) -> bool:
        """Send ``parts``, together at most ``TLS_CHUNK_BYTES``, without joining them first.

        As :meth:`send_all`, but a checkpoint only when the transport makes one; returns whether it did.
        """
        with self._sending:
            self._check_sendable()
            await trio.lowlevel.checkpoint_if_cancelled()
            return bool(parts) and await self._send_step(parts)

    async def _send_step(self, parts: Sequence[bytes | bytearray | memoryview]) -> bool:
        try:
            records = self._engine.encrypt(parts)
        except TlsError:
            self._state = _State.BROKEN
            raise
        waited = False
        try:
            for piece in records:
                waited |= await self._transport_path.send_promptly(piece)
            return waited
        except BaseException:
            discard_unsent(self._transport)
            await self._break()
            raise

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the transport has room. Cancelling it does no harm."""
        with self._sending:
            self._check_sendable()
            await self._transport.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """Say that no more data follows (close_notify); receiving goes on. Repeating it is harmless."""
        with self._sending:
            self._check_open()
            if self._eof_sent:
                await trio.lowlevel.checkpoint()
                return
            await trio.lowlevel.checkpoint_if_cancelled()
            self._eof_sent = True
            self._engine.write_close_notify()
            try:
                await self._flush()
            except BaseException:
                await self._break()
                raise

    # -- closing

    async def aclose(self) -> None:
        """Send close_notify if that is possible in two seconds, then close the transport.

        Never raises for a peer that is gone. Cancelled, the transport is closed all the same. What other
        tasks were doing on this stream ends with :exc:`trio.ClosedResourceError`.
        """
        if self._state is _State.CLOSED:
            await trio.lowlevel.checkpoint()
            return
        polite = self._state is _State.OPEN and not self._eof_sent and not self._sending.held
        self._state = _State.CLOSED
        try:
            if polite:
                with contextlib.suppress(TlsError):
                    self._engine.write_close_notify()
                with trio.move_on_after(CLOSE_SECONDS), contextlib.suppress(*_PEER_IS_GONE):
                    await self._flush()
        finally:
            await self._transport.aclose()

    # -- shared steps

    async def _flush(self) -> None:
        if self._engine.outgoing.pending:
            await self._transport.send_all(self._engine.outgoing.read())

    async def _break(self) -> None:
        if self._state is not _State.CLOSED:
            self._state = _State.BROKEN
        await trio.aclose_forcefully(self._transport)

    def _check_open(self) -> None:
        match self._state:
            case _State.OPEN:
                return
            case _State.NEW:
                raise RuntimeError("do_handshake() comes first")
            case _State.CLOSED:
                raise trio.ClosedResourceError("this TLS stream was closed here")
            case _State.BROKEN:
                raise trio.BrokenResourceError("this TLS stream failed earlier")

    def _check_sendable(self) -> None:
        self._check_open()
        if self._eof_sent:
            raise trio.ClosedResourceError("send_eof() was called")
