# SPDX-License-Identifier: Apache-2.0
"""Threats P10 and D14 for bytes that arrive before any handshake: strict, bounded, linear."""

import ssl
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.fuzz_client_hello import check
from mezite.core.client_hello import MAX_HELLO_BYTES, NEED_DATA, ClientHello, ClientHelloReader
from mezite.core.errors import RemoteProtocolError

CAPTURED = Path(__file__).parent.parent.parent / "fuzz" / "corpus" / "fuzz_client_hello"


def vector(size, content):
    return len(content).to_bytes(size) + content


def extension(kind, content):
    return kind.to_bytes(2) + vector(2, content)


def sni(host, kind=0):
    return extension(0, vector(2, bytes([kind]) + vector(2, host)))


def alpn(*names):
    return extension(16, vector(2, b"".join(vector(1, name) for name in names)))


def body(*extensions, version=b"\x03\x03", session=b"", ciphers=b"\x13\x01", compression=b"\x00"):
    block = vector(2, b"".join(extensions)) if extensions else b""
    return version + bytes(32) + vector(1, session) + vector(2, ciphers) + vector(1, compression) + block


def message(content, kind=1):
    return bytes([kind]) + vector(3, content)


def record(fragment, kind=22, version=b"\x03\x01"):
    return bytes([kind]) + version + vector(2, fragment)


def records(whole, size):
    return b"".join(record(whole[at : at + size]) for at in range(0, len(whole), size))


def read(data):
    reader = ClientHelloReader()
    reader.receive_data(data)
    return reader.next_event()


@pytest.mark.parametrize(
    ("name", "server_name", "offered"),
    [
        ("chromium", "app.localhost", ("h2", "http/1.1")),
        ("curl", "localhost", ("h2", "http/1.1")),
        ("openssl-mezite-tunnel", "mezite", ("mezite-tunnel/1",)),
        ("openssl-tls12-no-extensions", None, ()),
    ],
)
def test_captured_from_real_clients(name, server_name, offered):
    data = (CAPTURED / name).read_bytes()
    hello = read(data)
    assert (hello.server_name, hello.alpn) == (server_name, offered)
    check(data)


def test_chromiums_has_a_post_quantum_key_share():
    """It does not fit into one packet: what is peeked must be allowed to be this long."""
    assert len((CAPTURED / "chromium").read_bytes()) > 1700


@pytest.mark.parametrize("offered", [[], ["h2"], ["http/1.1", "mezite-connect/1", "h2"]])
@pytest.mark.parametrize("host", [None, "Hub.Example.com", "127.0.0.1"])
def test_what_pythons_library_sends(host, offered):
    context = ssl.create_default_context()
    if offered:
        context.set_alpn_protocols(offered)
    context.check_hostname = False
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=host)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    hello = read(outgoing.read())
    named = host.lower() if host and not host[0].isdigit() else None
    assert (hello.server_name, hello.alpn) == (named, tuple(offered))


@pytest.mark.parametrize("size", [1, 3, 5, 100, 16384])
def test_spread_over_records(size):
    hello = message(
        body(extension(51, bytes(1700)), sni(b"Hub.example"), alpn(b"mezite-tunnel/1", b"\x0a\xfa"))
    )
    data = records(hello, size)
    assert read(data) == ClientHello("hub.example", ("mezite-tunnel/1", "\n\xfa"))
    assert read(data + b"\x17\x03\x03 early data") == read(data)


def test_nothing_is_asked_for():
    assert read(record(message(body()))) == ClientHello(None, ())


def test_every_prefix_needs_more():
    data = records(message(body(sni(b"a"), alpn(b"h2"))), 40)
    assert {read(data[:end]) for end in range(len(data))} == {NEED_DATA}


def test_the_answer_repeats_and_takes_nothing_more():
    reader = ClientHelloReader()
    reader.receive_data(record(message(body())))
    first = reader.next_event()
    reader.receive_data(bytes(100_000))
    assert reader.next_event() is first


GOOD = message(body(alpn(b"h2")))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"GET / HTTP/1.1\r\n", "not a handshake record"),
        (b"\x80\x2e\x01\x03\x01", "not a handshake record"),
        (record(GOOD, kind=23), "not a handshake record"),
        (record(GOOD, version=b"\x02\x00"), "not a version"),
        (record(GOOD, version=b"\x03\x05"), "not a version"),
        (record(b""), "empty or too long"),
        (b"\x16\x03\x01\x40\x01", "empty or too long"),
        (b"\x16\x03\x01\x40\x00", "more than 16384 bytes"),
        (record(GOOD[:8]) + b"\x17", "not a handshake record"),
        (record(message(body(), kind=2)), "another handshake message"),
        (record(GOOD + b"\x00"), "something follows"),
        (record(message(body(version=b"\x02\x00"))), "not a version"),
        (record(message(body(session=bytes(33)))), "session id is too long"),
        (record(message(body(ciphers=b""))), "list is too short"),
        (record(message(body(ciphers=b"\x13\x01\x13"))), "half a cipher suite"),
        (record(message(body(compression=b""))), "list is too short"),
        (record(message(body()[:20])), "length does not fit"),
        (record(message(body(alpn(b"h2")) + b"\x00")), "length does not fit"),
        (record(message(body() + b"\x00\x03\x00\x10\x00")), "length does not fit"),
        (record(message(body(alpn(b"h2"), alpn(b"h2")))), "comes twice"),
        (record(message(body(extension(41, b"x"), alpn(b"h2")))), "follows pre_shared_key"),
        (record(message(body(extension(16, b"")))), "length does not fit"),
        (record(message(body(extension(16, b"\x00\x00")))), "list is too short"),
        (record(message(body(alpn(b"h2", b"")))), "list is too short"),
        (record(message(body(extension(16, b"\x00\x03\x02h2\x00")))), "length does not fit"),
        (record(message(body(extension(0, b"\x00\x00")))), "list is too short"),
        (record(message(body(sni(b"a", kind=1)))), "no host name"),
        (record(message(body(sni(b"")))), "no host has"),
        (record(message(body(sni(b"a\x00.b")))), "no host has"),
        (record(message(body(sni(b"\xfc.example")))), "no host has"),
        (record(message(body(sni(bytes(256))))), "no host has"),
        (
            record(message(body(extension(0, vector(2, b"\x00\x00\x01a\x00\x00\x01b"))))),
            "length does not fit",
        ),
    ],
)
def test_refused(data, why):
    reader = ClientHelloReader()
    reader.receive_data(data)
    for _ in range(2):
        with pytest.raises(RemoteProtocolError, match=why) as refused:
            reader.next_event()
        assert refused.value.code == 50
        reader.receive_data(b"more")
    check(data)


def test_a_message_that_never_ends_is_given_up_in_time():
    """It claims 16 MiB, in records of one byte."""
    claim = b"\x01\xff\xff\xff" + bytes(5000)
    with pytest.raises(RemoteProtocolError, match="16384"):
        read(records(claim, 1)[: MAX_HELLO_BYTES + 1])
    assert read(records(claim, 1)[: MAX_HELLO_BYTES - 10]) is NEED_DATA


def test_the_largest_one_that_is_read():
    filling = MAX_HELLO_BYTES - 5 - len(message(body(extension(21, b""))))
    data = record(message(body(extension(21, bytes(filling)))))
    assert len(data) == MAX_HELLO_BYTES
    assert read(data) == ClientHello(None, ())
    with pytest.raises(RemoteProtocolError, match="16384"):
        read(record(message(body(extension(21, bytes(filling + 1))))))


NAMES = st.binary(min_size=1, max_size=20)


@given(
    offered=st.lists(NAMES, min_size=1, max_size=5),
    host=st.from_regex(r"\A[a-z0-9.-]{1,40}\Z"),
    size=st.integers(1, 300),
    others=st.lists(st.binary(max_size=40), max_size=4),
)
def test_what_was_written_is_read(offered, host, size, others):
    filling = [extension(100 + number, content) for number, content in enumerate(others)]
    data = records(message(body(*filling, alpn(*offered), sni(host.encode()))), size)
    assert read(data) == ClientHello(host, tuple(name.decode("latin-1") for name in offered))
    check(data)


@given(st.binary(max_size=60), st.integers(0, 200), st.integers(0, 20))
def test_a_damaged_one_is_read_the_same_however_it_arrives(patch, at, cut):
    whole = records(message(body(sni(b"hub.example"), alpn(b"h2", b"http/1.1"))), 60)
    check(whole[:at] + patch + whole[at + cut :])
