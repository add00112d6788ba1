# SPDX-License-Identifier: Apache-2.0
import pytest

from mezite.core.errors import LocalProtocolError, RemoteProtocolError
from mezite.core.http_connect import MAX_HEAD_BYTES, MAX_INTERIM, ConnectAnswer, HttpConnect

ACCEPTED = b"HTTP/1.1 200 Connection established\r\nProxy-Agent: x/1\r\n\r\n"


@pytest.mark.parametrize(
    ("host", "authorization", "request_bytes"),
    [
        (
            "hub.example.com",
            None,
            b"CONNECT hub.example.com:443 HTTP/1.1\r\nHost: hub.example.com:443\r\n\r\n",
        ),
        ("fd00::1", None, b"CONNECT [fd00::1]:443 HTTP/1.1\r\nHost: [fd00::1]:443\r\n\r\n"),
        (
            "hub",
            "Basic YTpi",
            b"CONNECT hub:443 HTTP/1.1\r\nHost: hub:443\r\nProxy-Authorization: Basic YTpi\r\n\r\n",
        ),
    ],
)
def test_the_request(host, authorization, request_bytes):
    assert HttpConnect(host, 443, authorization=authorization).data_to_send() == request_bytes


@pytest.mark.parametrize(
    ("host", "port", "authorization"),
    [("a b", 443, None), ("a\r\nb", 443, None), ("hub", 0, None), ("hub", 443, "Basic a\r\nb: c")],
)
def test_what_cannot_stand_in_a_request(host, port, authorization):
    with pytest.raises(LocalProtocolError):
        HttpConnect(host, port, authorization=authorization)


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_an_acceptance_and_what_follows_it(step):
    connect, rest = HttpConnect("hub", 443), b""
    data = b"HTTP/1.1 100 Continue\r\n\r\n" + ACCEPTED + b"SSH-2.0-x\r\n\r\n"
    for start in range(0, len(data), step):
        connect.receive_data(data[start : start + step])
    rest = connect.trailing_data()
    assert connect.answer == ConnectAnswer(200, "Connection established")
    assert connect.answer.accepted
    assert rest == b"SSH-2.0-x\r\n\r\n"
    assert connect.trailing_data() == b""
    connect.receive_data(b"")


@pytest.mark.parametrize(
    ("head", "shown"),
    [
        (b"HTTP/1.0 407 Proxy Authentication Required\r\nA: b\r\n\r\n", "407 Proxy Authentication Required"),
        (b"HTTP/1.1 502\r\n\r\n", "502"),
        (b"HTTP/1.1 403 \xff\xfe\tx\r\n\r\n", "403 ?? x"),
    ],
)
def test_a_refusal(head, shown):
    connect = HttpConnect("hub", 443)
    connect.receive_data(head)
    assert connect.answer is not None
    assert not connect.answer.accepted
    assert str(connect.answer) == shown


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"SSH-2.0-OpenSSH\r\n\r\n", "does not answer in HTTP/1"),
        (b"HTTP/2 200 OK\r\n\r\n", "does not answer in HTTP/1"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", "does not answer in HTTP/1"),
        (b"HTTP/1.1 600 No\r\n\r\n", "does not answer in HTTP/1"),
        (b"HTTP/1.1 200 OK\n\n", "bare line feed"),
        (b"HTTP/1.1 200 OK\r\n folded\r\n\r\n", "no header field"),
        (b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n", "no header field"),
        (b"HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n", "no header field"),
        (b"HTTP/1.1 101 Switching\r\n\r\n", "which nobody asked for"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * (MAX_INTERIM + 1), "which nobody asked for"),
        (b"HTTP/1.1 200 OK\r\nA: " + b"x" * MAX_HEAD_BYTES, "longer than"),
    ],
)
@pytest.mark.parametrize("step", [97, 100_000])
def test_an_answer_that_is_none(data, why, step):
    connect = HttpConnect("hub", 443)
    with pytest.raises(RemoteProtocolError, match=why):  # noqa: PT012 - whichever piece it is
        for start in range(0, len(data), step):
            connect.receive_data(data[start : start + step])


def test_an_answer_that_is_cut_off():
    connect = HttpConnect("hub", 443)
    connect.receive_data(ACCEPTED[:-1])
    with pytest.raises(LocalProtocolError, match="no answer yet"):
        connect.trailing_data()
    with pytest.raises(RemoteProtocolError, match="without a complete answer"):
        connect.receive_data(b"")
