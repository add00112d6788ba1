# SPDX-License-Identifier: Apache-2.0
"""The binary packet protocol (RFC 4253 section 6) in the clear and under AES-GCM (RFC 5647), nothing else.

It stands in for paramiko's packetizer by the documented ``packetizer_class`` hook. Writing it anew is shorter
than patching the original and touches none of its private names. What differs:

* the length of a packet is checked before one byte of it is buffered (threat A6: the original collected what
  the peer announced, up to 2 GiB, before authentication);
* the identification line is bounded;
* one receive serves many packets, and a packet is copied once;
* what does not decrypt, has no payload or a wrong padding ends the connection.
"""

from __future__ import annotations

import logging
import struct
import threading

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from paramiko.message import Message
from paramiko.packet import NeedRekeyException

from mezite.ssh.errors import PeerProtocolError
from mezite.ssh.thread_bridge import ThreadBridge

__all__ = ["AeadPacketizer", "GcmKey", "packet_length"]

RECEIVE_BYTES = 128 * 1024
TAG_BYTES = 16
#: Packets under one key: far below the 2^32 of a sequence number, which must not repeat.
REKEY_PACKETS = 2**28
_SEQUENCE_MASK = 0xFFFFFFFF


def packet_length(header: bytes | bytearray | memoryview, *, block: int, counted: int, limit: int) -> int:
    """The length field of a packet, checked.

    ``block`` is the cipher's block size, ``counted`` how many bytes of the length field count towards a whole
    number of blocks (4 in the clear, 0 under an AEAD cipher), ``limit`` the largest length.
    :exc:`PeerProtocolError` for everything else: nothing of the packet needs to be read then.
    """
    length = int.from_bytes(header[:4], "big")
    if length > limit:
        raise PeerProtocolError(f"packet of {length} bytes, more than {limit}")
    if length < max(block - counted, 6) or (length + counted) % block:
        raise PeerProtocolError(f"packet of {length} bytes is not a whole number of blocks")
    return length


class GcmKey:
    """One direction's key and its counter of invocations, never used twice (RFC 5647 section 7.1)."""

    __slots__ = ("_cipher", "_counter", "_fixed")

    def __init__(self, cipher: AESGCM, initial: bytes) -> None:
        self._cipher = cipher
        self._fixed = initial[:4]
        self._counter = int.from_bytes(initial[4:12], "big")

    def _next_nonce(self) -> bytes:
        nonce = self._fixed + self._counter.to_bytes(8, "big")
        self._counter = (self._counter + 1) & 0xFFFFFFFFFFFFFFFF
        return nonce

    def seal(self, plain: bytes, header: bytes) -> bytearray:
        """``header`` followed by the encrypted ``plain`` and its tag."""
        packet = bytearray(len(header) + len(plain) + TAG_BYTES)
        packet[: len(header)] = header
        with memoryview(packet) as view, view[len(header) :] as body:
            self._cipher.encrypt_into(self._next_nonce(), plain, header, body)
        return packet

    def open(self, sealed: memoryview, header: bytes) -> bytes:
        """The plain text; :exc:`PeerProtocolError` when the tag is wrong."""
        try:
            return self._cipher.decrypt(self._next_nonce(), sealed, header)
        except InvalidTag:
            raise PeerProtocolError("packet was altered or encrypted with another key") from None


class AeadPacketizer:
    """Packets over a :class:`ThreadBridge`. One thread reads; any thread writes.

    ``packet_limit`` and ``rekey_bytes`` may be changed by the reading thread.
    """

    def __init__(self, sock: ThreadBridge) -> None:
        self._socket = sock
        self._lock = threading.RLock()
        self._buffer = bytearray()
        self._start = 0
        self._key_in: GcmKey | None = None
        self._key_out: GcmKey | None = None
        self._sequence_in = 0
        self._sequence_out = 0
        self._under_key = [0, 0, 0, 0]  # bytes in, bytes out, packets in, packets out
        self._keys_changed = 0
        self._need_rekey = False
        self.packet_limit = 35_000
        self.rekey_bytes = 1024 * 1024 * 1024
        self.last_sequence = 0
        """The sequence number of the packet read last."""
        self._initial_kex_done = False  # set by the transport

    # ---- what paramiko's Transport calls ----------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether the socket underneath is closed."""
        return self._socket.closed

    def close(self) -> None:
        """Close the socket underneath; what was written still leaves."""
        self._socket.close()

    def set_log(self, log: logging.Logger) -> None:
        """Nothing here is logged: packets are the peer's secrets."""

    def need_rekey(self) -> bool:
        """Whether one key has seen enough bytes or packets."""
        return self._need_rekey

    def reset_seqno_out(self) -> None:
        """Strict key exchange: numbers start anew with each key."""
        self._sequence_out = 0

    def reset_seqno_in(self) -> None:
        """As :meth:`reset_seqno_out`, for what is received."""
        self._sequence_in = 0

    def set_outbound_cipher(self, *, block_engine: AESGCM, iv_out: bytes, **_unused: object) -> None:
        """New key for what is sent. Only AES-GCM is ever negotiated, so the MAC arguments say nothing."""
        with self._lock:
            self._key_out = GcmKey(block_engine, iv_out)
            self._key_changed(1)

    def set_inbound_cipher(self, *, block_engine: AESGCM, iv_in: bytes, **_unused: object) -> None:
        """New key for what is received."""
        with self._lock:
            self._key_in = GcmKey(block_engine, iv_in)
            self._key_changed(0)

    def _key_changed(self, direction: int) -> None:
        self._under_key[direction] = self._under_key[direction + 2] = 0
        self._keys_changed |= 1 << direction
        if self._keys_changed == 3:
            self._keys_changed = 0
            self._need_rekey = False

    def send_message(self, message: Message) -> None:
        """Send paramiko's idea of a message."""
        self.send_payload(message.asbytes())

    def write_all(self, data: bytes) -> None:
        """Send raw bytes: only the identification line."""
        self._socket.send(data)

    # ---- packets ----------------------------------------------------------------------------------------

    def send_payload(self, payload: bytes, data: bytes | memoryview = b"") -> None:
        """Send ``payload`` followed by ``data`` as one packet; :exc:`EOFError` when closed. Never blocks on
        the peer.
        """
        size = len(payload) + len(data)
        with self._lock:
            if self._key_out is None:
                padding = 4 + -(size + 9) % 8
                header = struct.pack(">IB", size + padding + 1, padding)
                packet: bytes | bytearray = b"".join((header, payload, data, bytes(padding)))
            else:
                padding = 4 + -(size + 5) % 16
                plain = b"".join((bytes((padding,)), payload, data, bytes(padding)))
                packet = self._key_out.seal(plain, (size + padding + 1).to_bytes(4, "big"))
            self._sequence_out = self._advance(self._sequence_out)
            self._socket.send(packet)
            self._count(1, len(packet))

    def read_payload(self) -> bytes:
        """The next packet's payload, at least the type byte.

        :exc:`EOFError` at the end, :exc:`PeerProtocolError` for bad packets, ``NeedRekeyException`` when a
        wait timed out and new keys are due: nothing is lost, call again.
        """
        self._fill(4)
        header = bytes(self._buffer[self._start : self._start + 4])
        if self._key_in is None:
            length = packet_length(header, block=8, counted=4, limit=self.packet_limit)
            total = 4 + length
        else:
            length = packet_length(header, block=16, counted=0, limit=self.packet_limit)
            total = 4 + length + TAG_BYTES
        self._fill(total)
        body_start, end = self._start + 4, self._start + total
        with memoryview(self._buffer) as view, view[body_start:end] as body:
            plain = bytes(body) if self._key_in is None else self._key_in.open(body, header)
        self._start = end
        padding = plain[0]
        if padding < 4 or padding + 1 >= length:
            raise PeerProtocolError(f"packet of {length} bytes has {padding} bytes of padding")
        self.last_sequence = self._sequence_in
        self._sequence_in = self._advance(self._sequence_in)
        self._count(0, total)
        return plain[1 : length - padding]

    def read_identification(self, limit: int) -> str:
        """The peer's first line without its line end; at most ``limit`` bytes with it (RFC 4253 section
        4.2).
        """
        while (end := self._buffer.find(b"\n", self._start, self._start + limit)) < 0:
            if len(self._buffer) - self._start >= limit:
                raise PeerProtocolError(f"identification line is longer than {limit} bytes")
            self._fill(len(self._buffer) - self._start + 1)
        line = bytes(self._buffer[self._start : end]).rstrip(b"\r")
        self._start = end + 1
        try:
            return line.decode("ascii")
        except UnicodeDecodeError:
            raise PeerProtocolError("identification line is not ASCII") from None

    def _advance(self, sequence: int) -> int:
        following = (sequence + 1) & _SEQUENCE_MASK
        if following == 0 and not self._initial_kex_done:
            raise PeerProtocolError("sequence numbers ran out before the first keys")
        return following

    def _count(self, direction: int, size: int) -> None:
        self._under_key[direction] += size
        self._under_key[direction + 2] += 1
        if self._under_key[direction] >= self.rekey_bytes or self._under_key[direction + 2] >= REKEY_PACKETS:
            self._need_rekey = True

    def _fill(self, size: int) -> None:
        while len(self._buffer) - self._start < size:
            if self._start:
                del self._buffer[: self._start]
                self._start = 0
            try:
                data = self._socket.recv(RECEIVE_BYTES)
            except TimeoutError:
                if self._need_rekey:
                    raise NeedRekeyException from None
                continue
            if not data:
                raise EOFError
            self._buffer += data
