# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fuzz.fuzz_sniffer import check
from mezite.core.protocol_sniffer import MAX_SNIFFED_BYTES, NEED_DATA, Protocol, sniff


@pytest.mark.parametrize(
    ("data", "protocol"),
    [
        (b"\x16\x03\x01\x02\x00\x01", Protocol.TLS),
        (b"\x16\x03\x03", Protocol.TLS),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Protocol.SSH),
        (b"SSH-", Protocol.SSH),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Protocol.HTTP2_PRIOR_KNOWLEDGE),
        (b"GET / HTTP/1.1\r\n", Protocol.HTTP1),
        (b"OPTIONS * HTTP/1.1\r\n", Protocol.HTTP1),
        (b"GET http://a/ HTTP/1.1\r\n", Protocol.HTTP1),
        (b"CONNECT example.com:443 HTTP/1.1\r\n", Protocol.HTTP1),
        (b"PROPFIND /", Protocol.HTTP1),
        (b"VERSION-CONTROL /", Protocol.HTTP1),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", Protocol.PROXY_HEADER),
        (b"\r\n\r\n\x00\r\nQUIT\n\x21\x11", Protocol.PROXY_HEADER),
        (b"get / HTTP/1.1\r\n", Protocol.UNKNOWN),
        (b"GET  / HTTP/1.1\r\n", Protocol.UNKNOWN),
        (b"GET x", Protocol.UNKNOWN),
        (b"CONNECT  x", Protocol.UNKNOWN),
        (b"EHLO example.com\r\n", Protocol.UNKNOWN),
        (b"\r\nGET /", Protocol.UNKNOWN),
        (b"\x16\x02", Protocol.UNKNOWN),
        (b"\x16\x03\x05", Protocol.UNKNOWN),
        (b"\x80\x2e\x01\x03\x01", Protocol.UNKNOWN),
        (b"-GET /", Protocol.UNKNOWN),
        (b"A" * 21, Protocol.UNKNOWN),
        (b"A" * 20 + b" /", Protocol.HTTP1),
        (b"\x00", Protocol.UNKNOWN),
    ],
)
def test_first_bytes(data, protocol):
    assert sniff(data) is protocol


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x16",
        b"\x16\x03",
        b"S",
        b"SSH",
        b"P",
        b"PR",
        b"PRI * HTTP/2.0\r",
        b"PROXY",
        b"\r\n",
        b"GET",
        b"GET ",
    ],
)
def test_undecided(data):
    assert sniff(data) is NEED_DATA


def test_every_first_byte_is_decided_in_time():
    for first in range(256):
        assert sniff(bytes([first]) + b"A" * (MAX_SNIFFED_BYTES - 1)) is not NEED_DATA


STARTS = [
    b"\x16\x03\x01",
    b"SSH-2.0-x",
    b"PRI * HTTP/2.0\r\n\r\n",
    b"PROXY TCP4 ",
    b"\r\n\r\n\x00\r\nQUIT\n",
    b"GET / ",
    b"CONNECT x",
]


@given(
    st.binary(max_size=40) | st.builds(lambda a, b: a + b, st.sampled_from(STARTS), st.binary(max_size=20))
)
@example(b"PRI * HTTP/1.0\r\n")
def test_fuzz_claim_whole_equals_any_chunking(data):
    check(data)
