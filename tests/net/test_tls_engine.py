# SPDX-License-Identifier: Apache-2.0
"""The engine between two buffers; the stream's tests cover it on transports."""

import contextlib
import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.net.tls_contexts import client_context, server_context
from mezite.net.tls_engine import TlsEngine, TlsError, describe_tls_failure
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
    wire = b"".join(client.encrypt([data]) for data in sent)
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
    server.incoming.write(client.encrypt([b"x" * 50_000]))
    server.write_close_notify()
    assert server.may_have_plaintext
    assert server.take(10) == b"x" * 10
    assert server.take(100_000) == b"x" * 49_990
    server.incoming.write(client.encrypt([b"later"]))
    assert server.take(10) == b"later"


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
