# SPDX-License-Identifier: Apache-2.0
"""The engine between two buffers; the stream's tests cover it on transports."""

import contextlib
import random
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.net.tls_contexts import client_context, server_context
from mezite.net.tls_engine import (
    STEP_BYTES,
    TLS_CHUNK_BYTES,
    TlsEngine,
    TlsError,
    describe_tls_failure,
)
from mezite.testing.self_signed import self_signed_pem

CERT, KEY = self_signed_pem()
CLIENT, SERVER = client_context([CERT], []), server_context(CERT, KEY, [])


def pair() -> tuple[TlsEngine, TlsEngine]:
    client = TlsEngine(CLIENT, server_side=False, server_hostname="localhost")
    server = TlsEngine(SERVER, server_side=True)
    for _ in range(3):
        for engine, peer in ((client, server), (server, client)):
            with contextlib.suppress(ssl.SSLWantReadError):
                engine.tls.do_handshake()
            peer.incoming.write(engine.outgoing.read())
    return client, server


@given(
    st.lists(st.binary(min_size=1, max_size=40_000), max_size=5),
    st.integers(1, 50_000),
    st.integers(1, 20_000),
)
def test_any_cut_of_the_ciphertext_gives_the_same_plaintext(sent: list[bytes], limit: int, cut: int) -> None:
    client, server = pair()
    wire = b"".join(piece for data in sent for piece in client.encrypt([data]))
    client.write_close_notify()
    wire += client.outgoing.read()
    got = bytearray()
    for start in range(0, len(wire), cut):
        server.incoming.write(wire[start : start + cut])
        while piece := server.take(limit):
            assert len(piece) <= limit
            got += piece
    assert got == b"".join(sent)
    assert server.eof_received
    assert not server.may_have_plaintext


def test_what_came_before_our_end_is_kept() -> None:
    client, server = pair()
    server.incoming.write(b"".join(client.encrypt([b"x" * 50_000])))
    server.write_close_notify()
    assert server.may_have_plaintext
    assert server.take(10) == b"x" * 10
    assert server.take(100_000) == b"x" * 49_990
    server.incoming.write(b"".join(client.encrypt([b"later"])))
    assert server.take(10) == b"later"


class Watched:
    """A session that notes how much the buffers on both sides of it have ever held."""

    def __init__(self, engine: TlsEngine) -> None:
        self._engine, self._tls, self.most = engine, engine.tls, 0

    def write(self, data: memoryview) -> int:
        written = self._tls.write(data)
        self._look()
        return written

    def read(self, size: int, view: memoryview) -> int:
        self._look()
        return self._tls.read(size, view)

    def __getattr__(self, name: str) -> object:
        return getattr(self._tls, name)

    def _look(self) -> None:
        self.most = max(self.most, self._engine.incoming.pending, self._engine.outgoing.pending)


@pytest.mark.parametrize("joined", [True, False])
def test_bulk_does_not_swell_the_buffers_which_never_shrink(joined: bool) -> None:
    client, server = pair()
    client.tls = sender = Watched(client)
    server.tls = receiver = Watched(server)
    data = random.Random(1).randbytes(TLS_CHUNK_BYTES)
    wire = b"".join(client.encrypt([data[:300_000], b"between", data[300_000:]]))
    got = bytearray(server.take(TLS_CHUNK_BYTES, wire) if joined else b"")
    for start in range(0, 0 if joined else len(wire), 100_000):
        buffer = bytearray(200_000)
        got += buffer[: server.take_into(buffer, memoryview(wire)[start : start + 100_000])]
    got += server.take(100)
    assert got == data[:300_000] + b"between" + data[300_000:]
    assert max(sender.most, receiver.most) < 2.1 * STEP_BYTES


def test_what_there_is_no_room_for_waits_for_the_next_time() -> None:
    client, server = pair()
    data = random.Random(2).randbytes(400_000)
    got = bytearray(server.take(1000, b"".join(client.encrypt([data]))))
    assert len(got) == 1000
    while server.may_have_plaintext:
        got += server.take(50_000)
    assert got == data


def test_what_came_since_our_end_is_behind_what_was_kept() -> None:
    client, server = pair()
    server.incoming.write(b"".join(client.encrypt([b"first"])))
    server.write_close_notify()
    assert server.take(10, b"".join(client.encrypt([b"second"]))) == b"first"
    assert server.take(10) == b"second"


def test_nothing_can_be_encrypted_after_the_end() -> None:
    client, _ = pair()
    client.write_close_notify()
    with pytest.raises(TlsError):
        client.encrypt([b"x"])


def test_failures_have_words() -> None:
    assert describe_tls_failure(ssl.SSLError("x")) == "handshake or record failure"


def test_an_alert_that_python_has_no_name_for_has_words_too() -> None:
    """What a hub's port says to a client that offers only protocols which are not served there."""
    engine = TlsEngine(client_context(None, ("mezite-tunnel/1",)), server_side=False, server_hostname="hub")
    with pytest.raises(ssl.SSLWantReadError):
        engine.tls.do_handshake()
    engine.incoming.write(b"\x15\x03\x03\x00\x02\x02\x78")
    with pytest.raises(ssl.SSLError) as refused:
        engine.tls.do_handshake()
    assert "no application protocol" in describe_tls_failure(refused.value)
