# SPDX-License-Identifier: Apache-2.0
"""Packets: what one end writes the other reads, whatever the pieces; nothing unlawful is buffered."""

from collections import deque

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import given
from hypothesis import strategies as st
from paramiko.message import Message
from paramiko.packet import NeedRekeyException

from mezite.ssh import packetizer as module
from mezite.ssh.errors import PeerProtocolError
from mezite.ssh.packetizer import AeadPacketizer, GcmKey, packet_length


class Pipe:
    """A socket whose other end is a list of pieces."""

    def __init__(self) -> None:
        self.sent = bytearray()
        self.pieces: deque[bytes | type[Exception]] = deque()
        self.closed = False

    def send(self, data) -> int:
        self.sent += data
        return len(data)

    def recv(self, size: int) -> bytes:
        if not self.pieces:
            return b""
        piece = self.pieces.popleft()
        if isinstance(piece, type):
            raise piece
        return piece

    def close(self) -> None:
        self.closed = True

    def feed(self, data: bytes, cuts=()) -> None:
        last = 0
        for cut in sorted({min(cut, len(data)) for cut in cuts} | {len(data)}):
            if cut > last:
                self.pieces.append(data[last:cut])
                last = cut


def with_keys(sender: AeadPacketizer, receiver: AeadPacketizer) -> None:
    key, nonce = AESGCM(b"k" * 16), b"n" * 12
    sender.set_outbound_cipher(block_engine=key, iv_out=nonce, mac_key=None)
    receiver.set_inbound_cipher(block_engine=key, iv_in=nonce, etm=False)


def ends() -> tuple[AeadPacketizer, Pipe, AeadPacketizer, Pipe]:
    out, inn = Pipe(), Pipe()
    return AeadPacketizer(out), out, AeadPacketizer(inn), inn


payloads = st.lists(st.binary(min_size=1, max_size=300), min_size=1, max_size=8)


@given(payloads, payloads, st.lists(st.integers(0, 5000), max_size=20))
def test_round_trip_in_any_pieces(clear, sealed, cuts):
    sender, out, receiver, inn = ends()
    for payload in clear:
        sender.send_payload(payload[:1], payload[1:])
    first = len(out.sent)
    assert first % 8 == 0
    inn.feed(bytes(out.sent), cuts)
    assert [receiver.read_payload() for _ in clear] == clear
    with_keys(sender, receiver)
    for payload in sealed:
        sender.send_message(Message(payload))
    inn.feed(bytes(out.sent[first:]), cuts)
    assert [receiver.read_payload() for _ in sealed] == sealed
    with pytest.raises(EOFError):
        receiver.read_payload()


@given(st.integers(0, 2**32 - 1), st.sampled_from([(8, 4), (16, 0)]))
def test_length_is_checked_before_anything_is_buffered(length, cipher):
    """A6."""
    block, counted = cipher
    header = length.to_bytes(4, "big")
    try:
        assert packet_length(header, block=block, counted=counted, limit=35_000) == length
    except PeerProtocolError:
        assert length > 35_000 or length < block or (length + counted) % block
    else:
        assert (length + counted) % block == 0
        assert block - counted <= length <= 35_000


def test_altered_packet():
    sender, out, receiver, inn = ends()
    with_keys(sender, receiver)
    sender.send_payload(b"hello")
    out.sent[6] ^= 1
    inn.feed(bytes(out.sent))
    with pytest.raises(PeerProtocolError, match="altered"):
        receiver.read_payload()


@pytest.mark.parametrize("padding", [0, 3, 11, 12, 255])
def test_padding_that_is_none(padding):
    _, _, receiver, inn = ends()
    inn.feed((12).to_bytes(4, "big") + bytes((padding,)) + bytes(11))
    with pytest.raises(PeerProtocolError, match="padding"):
        receiver.read_payload()


def test_nonces_are_never_used_twice():
    key = GcmKey(AESGCM(b"k" * 16), b"\xff" * 12)
    sealed = {bytes(key.seal(b"same", b"head")) for _ in range(100)}
    assert len(sealed) == 100


def test_numbers_start_anew_with_strict_exchange_and_must_not_run_out_before():
    sender, out, receiver, inn = ends()
    sender.send_payload(b"x")
    inn.feed(bytes(out.sent) * 2)
    receiver.read_payload()
    assert receiver.last_sequence == 0
    receiver.reset_seqno_in()
    sender.reset_seqno_out()
    receiver.read_payload()
    assert receiver.last_sequence == 0
    sender._sequence_out = 2**32 - 1
    with pytest.raises(PeerProtocolError, match="ran out"):
        sender.send_payload(b"x")
    sender._initial_kex_done = True
    sender.send_payload(b"x")
    assert sender._sequence_out == 0


def test_new_keys_are_due_after_bytes_and_packets():
    sender, out, receiver, inn = ends()
    with_keys(sender, receiver)
    sender.rekey_bytes = 100
    assert not sender.need_rekey()
    sender.send_payload(bytes(100))
    assert sender.need_rekey()
    inn.pieces.append(TimeoutError)
    inn.feed(bytes(out.sent))
    assert receiver.read_payload() == bytes(100)  # nothing due here: the wait goes on
    receiver.rekey_bytes = 1
    inn.feed(bytes(out.sent)[:3])
    inn.pieces.append(TimeoutError)
    receiver._need_rekey = True
    with pytest.raises(NeedRekeyException):
        receiver.read_payload()
    with_keys(receiver, sender)
    sender.set_outbound_cipher(block_engine=AESGCM(b"l" * 16), iv_out=b"m" * 12)
    assert not sender.need_rekey()
    sender._under_key[3] = module.REKEY_PACKETS
    sender.send_payload(b"x")
    assert sender.need_rekey()


def test_identification_line():
    _, _, receiver, inn = ends()
    inn.feed(b"SSH-2.0-x y\r\nrest", [3, 7])
    assert receiver.read_identification(255) == "SSH-2.0-x y"
    assert receiver._buffer[receiver._start :] == b"rest"


@pytest.mark.parametrize("line", [b"x" * 255, b"x" * 254 + b"y\n"])
def test_identification_line_is_bounded(line):
    _, _, receiver, inn = ends()
    inn.feed(line, range(0, 255, 50))
    with pytest.raises(PeerProtocolError, match="longer than 255"):
        receiver.read_identification(255)


def test_socket_is_closed_with_it():
    sender, out, _, _ = ends()
    sender.set_log(None)
    sender.write_all(b"SSH-2.0-x\r\n")
    assert (bytes(out.sent), sender.closed) == (b"SSH-2.0-x\r\n", False)
    sender.close()
    assert sender.closed
