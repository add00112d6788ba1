# SPDX-License-Identifier: Apache-2.0
"""TLS between two byte buffers: what goes in and out, without a transport."""

from __future__ import annotations

import contextlib
import re
import ssl
from collections.abc import Iterable

import trio

__all__ = ["TLS_CHUNK_BYTES", "TlsEngine", "TlsError"]

#: Plaintext per step: thirty-two full TLS records (RFC 8446 section 5.1: 2**14 bytes each), and a short one for
#: the frame headers around so much data. Measured on two cores, larger steps gain nothing and smaller ones pay
#: the scheduler more often.
TLS_CHUNK_BYTES = 512 * 1024 + 64

#: Ciphertext per receive: those records with header (5), content type (1) and tag (16) each, so that an
#: aligned burst of ``TLS_CHUNK_BYTES`` arrives in one step.
RECEIVE_BYTES = TLS_CHUNK_BYTES + 33 * 22

#: Bytes that go through a ``MemoryBIO`` at a time, which never gives memory back: a stream that had carried bulk in
#: steps of ``TLS_CHUNK_BYTES`` kept 1.06 MB, in these 0.3 MB, at the same cost, as long as nobody joins the pieces.
STEP_BYTES = 128 * 1024

#: A part of this size goes into records of its own: a record costs as much as copying some KiB.
SMALL_PART_BYTES = 4096

#: Replies that reading may leave unsent. A key update is 39 bytes; a peer that makes us owe 4,000 of them
#: while it never lets us send is an attack on memory.
MAX_UNSENT_REPLIES = 160 * 1024

Ciphertext = bytes | bytearray | memoryview

_LIBRARY_TEXT = re.compile(r"\[[^]]*\] (.+) \(_ssl\.c:[0-9]+\)")


class TlsError(trio.BrokenResourceError):
    """The TLS session failed; the stream is dead.

    ``reason`` is short and names the cause for an operator (``certificate verify failed: ...``,
    ``truncated``); the library's own exception, if any, is the ``__cause__``.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"TLS: {reason}")
        self.reason = reason


class TlsEngine:
    """An ``ssl.SSLObject`` on two ``MemoryBIO`` s, with the loop that makes reading fast."""

    def __init__(
        self, context: ssl.SSLContext, *, server_side: bool, server_hostname: str | None = None
    ) -> None:
        self.incoming = ssl.MemoryBIO()
        self.outgoing = ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self.incoming, self.outgoing, server_side=server_side, server_hostname=server_hostname
        )
        #: the peer sent close_notify
        self.eof_received = False
        #: plaintext decrypted before it was asked for; only a half-close fills it, at most RECEIVE_BYTES
        self._stash = bytearray()

    @property
    def may_have_plaintext(self) -> bool:
        """Whether :meth:`take` may give something before more ciphertext comes."""
        return bool(self._stash or self.incoming.pending or self.tls.pending())

    def take(self, limit: int, ciphertext: Ciphertext = b"") -> bytes | bytearray:
        """At most ``limit`` bytes of plaintext, with ``ciphertext`` as what has come in since.

        Empty when no record is complete. Raises :exc:`TlsError`.
        """
        if self._stash:
            self.incoming.write(ciphertext)
            plaintext = self._stash[:limit]
            del self._stash[:limit]
            return plaintext
        return self._decrypt(limit, ciphertext)

    def take_into(self, buffer: bytearray, ciphertext: Ciphertext = b"") -> int:
        """As ``take(len(buffer), ciphertext)``, into ``buffer``; returns how many bytes."""
        if self._stash:
            plaintext = self.take(len(buffer), ciphertext)
            buffer[: len(plaintext)] = plaintext
            return len(plaintext)
        with memoryview(buffer) as view:
            return self._decrypt_into(view, ciphertext)

    def _decrypt(self, limit: int, ciphertext: Ciphertext = b"") -> bytearray:
        """Decrypt complete records into one buffer, at most ``limit`` bytes; empty when none is complete."""
        # Plaintext is never longer than its ciphertext, so this is enough room and no more.
        buffer = bytearray(min(limit, len(ciphertext) + self.incoming.pending + self.tls.pending() + 1))
        with memoryview(buffer) as view:
            filled = self._decrypt_into(view, ciphertext)
        if filled < len(buffer):
            del buffer[filled:]
        return buffer

    def _decrypt_into(self, view: memoryview, ciphertext: Ciphertext) -> int:
        """Decrypt complete records, as many as ``view`` has room for; returns the bytes of plaintext."""
        filled = 0
        with memoryview(ciphertext) as waiting:
            for start in range(0, len(waiting), STEP_BYTES):
                self.incoming.write(waiting[start : start + STEP_BYTES])
                filled = self._decrypt_more(view, filled)
        return filled if len(ciphertext) else self._decrypt_more(view, filled)

    def _decrypt_more(self, view: memoryview, filled: int) -> int:
        """Decrypt complete records into ``view`` behind what fills it already; returns what fills it then."""
        size = len(view)
        read = self.tls.read
        try:
            while filled < size:
                # typeshed wants a bytearray; the C code takes any writable buffer
                count: int = read(size - filled, view[filled:])  # type: ignore[assignment]
                if not count:
                    self.eof_received = True
                    break
                filled += count
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.eof_received = True
        except ssl.SSLError as error:
            if not filled:
                raise TlsError(describe_tls_failure(error)) from error
            # Whole records before the bad one are authentic: deliver them, fail on the next call.
        if self.outgoing.pending > MAX_UNSENT_REPLIES:
            raise TlsError("the peer asks for key updates and takes no replies")
        return filled

    def write_close_notify(self) -> None:
        """Say in ``outgoing`` that nothing follows; nothing that came in is lost. Repeating it is harmless."""
        # unwrap() also tries to read the peer's close_notify and throws application data away that it
        # finds instead; so all complete records are decrypted and kept first.
        while (self.incoming.pending or self.tls.pending()) and not self.eof_received:
            plaintext = self._decrypt(RECEIVE_BYTES)
            if not plaintext:
                break
            self._stash += plaintext
        # "Want read" in the usual case. Any other failure shows when the peer's data is read next.
        with contextlib.suppress(ssl.SSLError):
            self.tls.unwrap()

    def encrypt(self, parts: Iterable[bytes | bytearray | memoryview]) -> list[bytes]:
        """The records that carry ``parts``, behind whatever was owed before, in pieces. Raises :exc:`TlsError`.

        Large parts are not copied before they are encrypted, small ones share records.
        """
        records: list[bytes] = []
        try:
            small: list[bytes | bytearray | memoryview] = []
            for part in parts:
                if len(part) < SMALL_PART_BYTES:
                    small.append(part)
                    continue
                self._write(small, records)
                self._write_large(part, records)
            self._write(small, records)
        except ssl.SSLError as error:
            raise TlsError(describe_tls_failure(error)) from error
        if self.outgoing.pending:
            records.append(self.outgoing.read())
        return records

    def _write(self, small: list[bytes | bytearray | memoryview], records: list[bytes]) -> None:
        if small:
            self._write_large(small[0] if len(small) == 1 else b"".join(small), records)
            small.clear()

    def _write_large(self, part: bytes | bytearray | memoryview, records: list[bytes]) -> None:
        with memoryview(part) as view:
            for start in range(0, len(view), STEP_BYTES):
                self.tls.write(view[start : start + STEP_BYTES])
                if self.outgoing.pending >= STEP_BYTES:
                    records.append(self.outgoing.read())


def describe_tls_failure(error: ssl.SSLError) -> str:
    """The cause in words for an operator, without OpenSSL's file names and line numbers."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"certificate verify failed: {error.verify_message}"
    if reason := getattr(error, "reason", None):
        return str(reason).replace("_", " ").lower()
    # Python has no name for every alert; the library's text does.
    found = _LIBRARY_TEXT.fullmatch(str(error.args[-1]) if error.args else "")
    return "handshake or record failure" if found is None else found[1]
