# SPDX-License-Identifier: Apache-2.0
import pytest
import trio
import trio.testing

from mezite.core.http1.response_reader import ResponseBody, ResponseEnd, ResponseHead
from mezite.net.app_upstream import UpstreamConnection, UpstreamError, is_readable
from mezite.net.byte_streams import PushbackStream
from mezite.testing.mux_sessions import SessionPair


def make() -> tuple[UpstreamConnection, trio.abc.Stream]:
    ours, theirs = trio.testing.memory_stream_pair()
    return UpstreamConnection(stream=ours, agent="node-1"), theirs


async def test_a_request_is_written_and_its_response_read() -> None:
    connection, server = make()
    await connection.begin(b"POST", b"/a?b", [(b"Host", b"h"), (b"Content-Length", b"2")])
    await connection.send_body(b"ab", more=False)
    assert await server.receive_some() == b"POST /a?b HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab"
    await server.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
    assert isinstance(await connection.next_event(), ResponseHead)
    await server.send_all(b"hi")
    assert await connection.next_event() == ResponseBody(b"hi")
    assert await connection.next_event() == ResponseEnd()
    assert connection.may_be_kept
    await connection.begin(b"POST", b"/", [(b"Transfer-Encoding", b"chunked")])
    assert connection.is_untouched
    await server.receive_some()
    for piece, more in ((b"abc", True), (b"", True), (b"d", False)):
        await connection.send_body(piece, more=more)
    assert await server.receive_some() == b"3\r\nabc\r\n1\r\nd\r\n0\r\n\r\n"


async def test_ends_and_failures_have_words() -> None:
    connection, server = make()
    await connection.begin(b"GET", b"/", [])
    await server.aclose()
    with pytest.raises(UpstreamError, match="before its response"):
        await connection.next_event()
    with pytest.raises(UpstreamError, match="broke"):
        await connection.send_body(b"a", more=True)
    await connection.stream.aclose()
    connection.reader = type(connection.reader)(b"GET")
    with pytest.raises(UpstreamError, match="broke"):
        await connection.next_event()


async def test_a_channel_that_has_ended_is_known_to_have() -> None:
    """Also through what is wrapped around it."""
    async with trio.open_nursery() as nursery:
        pair = SessionPair()
        await pair.start(nursery)
        ours, theirs = await pair.open()
        assert not is_readable(PushbackStream(ours))
        await theirs.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert is_readable(PushbackStream(ours))
        nursery.cancel_scope.cancel()
    assert not is_readable(trio.testing.memory_stream_pair()[0])
