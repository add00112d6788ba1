# SPDX-License-Identifier: Apache-2.0
"""Last words arrive, and cost two seconds at most."""

import pytest
import trio
from h2.errors import ErrorCodes
from hyperframe.frame import GoAwayFrame, SettingsFrame
from trio.testing import memory_stream_pair

from mezite.net.connection_limits import BudgetedStream
from mezite.net.refusal import REFUSAL_SECONDS, refuse, refuse_http1, refuse_http2
from tests.handlers.peers import read_all
from tests.net.http2_peers import FramePeer


async def refused(speak):
    """What the peer hears."""
    ours, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(speak, theirs)
        await ours.send_eof()
        return (await read_all(ours)).decode()


async def test_an_answer_of_http_1():
    async def speak(stream):
        await refuse_http1(stream, 426, "wrong door\n", upgrade="h2c")

    head, _, body = (await refused(speak)).partition("\r\n\r\n")
    first, *fields = head.split("\r\n")
    assert first == "HTTP/1.1 426 Upgrade Required"
    assert [field for field in fields if not field.startswith("Date: ")] == [
        "Content-Type: text/plain; charset=utf-8",
        "Content-Length: 11",
        "Cache-Control: no-store",
        "Upgrade: h2c",
        "Connection: Upgrade, close",
    ]
    assert body == "wrong door\n"


async def test_the_answer_to_a_head_request_has_no_body():
    async def speak(stream):
        await refuse_http1(stream, 400, "wrong door\n", head_only=True)

    head, _, body = (await refused(speak)).partition("\r\n\r\n")
    assert "Content-Length: 11" in head
    assert head.endswith("Connection: close")
    assert body == ""


async def test_the_end_of_http_2():
    ours, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(refuse_http2, theirs, ErrorCodes.INADEQUATE_SECURITY, "wants TLS")
        peer = FramePeer(ours)
        assert isinstance(await peer.receive(), SettingsFrame)
        goaway = await peer.receive_a(GoAwayFrame)
        assert (goaway.error_code, goaway.last_stream_id) == (ErrorCodes.INADEQUATE_SECURITY, 0)
        assert goaway.additional_data == b"wants TLS"
        await ours.aclose()


async def test_a_peer_that_does_not_end_is_waited_for_a_moment(autojump_clock):
    _ours, theirs = memory_stream_pair()
    begin = trio.current_time()
    await refuse(theirs, b"words")
    assert trio.current_time() - begin == REFUSAL_SECONDS


async def test_a_peer_that_keeps_sending_is_left():
    ours, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ours.send_all, bytes(200_000))
        with trio.fail_after(1):
            await refuse(theirs, b"words")


@pytest.mark.parametrize("budget", [None, 10])
async def test_a_peer_that_is_gone_or_over_its_budget(budget):
    ours, theirs = memory_stream_pair()
    if budget is None:
        await ours.aclose()
    else:
        await ours.send_all(bytes(100))
        theirs = BudgetedStream(theirs, budget)
    await refuse(theirs, b"words")


async def test_a_stream_that_cannot_half_close():
    class Whole(trio.abc.Stream):
        def __init__(self, stream):
            self.stream = stream

        async def send_all(self, data):
            await self.stream.send_all(data)

        async def wait_send_all_might_not_block(self):
            await self.stream.wait_send_all_might_not_block()

        async def receive_some(self, max_bytes=None):
            return await self.stream.receive_some(max_bytes)

        async def aclose(self):
            await self.stream.aclose()

    ours, theirs = memory_stream_pair()
    await ours.send_eof()
    await refuse(Whole(theirs), b"words")
    assert await ours.receive_some() == b"words"
