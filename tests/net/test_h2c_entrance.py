# SPDX-License-Identifier: Apache-2.0
"""D13: the first words of a connection without TLS, and the call that came with them."""

import base64
import contextlib
import struct

import pytest
import trio
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hyperframe.frame import DataFrame, GoAwayFrame, HeadersFrame, RstStreamFrame, SettingsFrame
from trio.testing import memory_stream_pair, wait_all_tasks_blocked

from mezite.core.h2c import PriorKnowledge, UpgradeRequest
from mezite.net.byte_streams import PushbackStream
from mezite.net.h2c_entrance import SWITCHING, enter_http2
from mezite.net.http2_limits import Http2Limits
from mezite.net.http2_server import Http2ServerConnection
from tests.net.http2_peers import REQUEST, FramePeer

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


def upgrade_head(*fields, line=b"GET /s.S/M HTTP/1.1", settings=((3, 100),)):
    packed = b"".join(struct.pack(">HL", code, value) for code, value in settings)
    return b"\r\n".join(
        (
            line,
            b"Host: hub",
            b"Connection: Upgrade, HTTP2-Settings",
            b"Upgrade: h2c",
            b"HTTP2-Settings: " + base64.urlsafe_b64encode(packed),
            *fields,
            b"",
            b"",
        )
    )


async def entered(data):
    """The outcome, what the peer heard, and what is left to read."""
    ours, theirs = memory_stream_pair()
    await ours.send_all(data)
    await ours.send_eof()
    stream = PushbackStream(theirs)
    outcome = await enter_http2(stream, "wrong door\n")
    left = b""
    while outcome is not None and (data := await stream.receive_some()):
        left += data
    await stream.aclose()
    heard = b""
    while data := await ours.receive_some():
        heard += data
    return outcome, heard, left


async def test_prior_knowledge_loses_no_byte():
    outcome, heard, left = await entered(PREFACE + b"more")
    assert isinstance(outcome, PriorKnowledge)
    assert (heard, left) == (b"", PREFACE + b"more")


async def test_an_upgrade_is_answered_and_what_follows_is_kept():
    outcome, heard, left = await entered(upgrade_head(b"Content-Length: 2") + b"ab" + PREFACE)
    assert isinstance(outcome, UpgradeRequest)
    assert outcome.body == b"ab"
    assert (heard, left) == (SWITCHING, PREFACE)


@pytest.mark.parametrize(("method", "body"), [(b"GET", b"wrong door\n"), (b"HEAD", b"")])
async def test_a_plain_request_is_told_where_it_is(method, body):
    outcome, heard, _ = await entered(method + b" / HTTP/1.1\r\nHost: h\r\n\r\n")
    assert outcome is None
    assert heard.startswith(b"HTTP/1.1 426 Upgrade Required\r\n")
    assert heard.endswith(b"Upgrade: h2c\r\nConnection: Upgrade, close\r\n\r\n" + body)


async def test_a_wrong_upgrade_is_told_what_is_wrong():
    outcome, heard, _ = await entered(upgrade_head(b"Transfer-Encoding: chunked"))
    assert outcome is None
    assert heard.startswith(b"HTTP/1.1 411 Length Required\r\n")
    assert b"--http2-prior-knowledge" in heard


@pytest.mark.parametrize("data", [b"", b"GET", b"SSH-2.0-x\r\n", b"GET / HTTP/1.1\r\n"])
async def test_others_are_told_nothing(data):
    assert await entered(data) == (None, b"", b"")


# --- the call that came with the upgrade --------------------------------------------------------------------


@contextlib.asynccontextmanager
async def upgraded(handler, head=None, body=b"", limits=None):
    """A connection on which 101 has been answered: the peer, and the server."""
    ours, theirs = memory_stream_pair()
    stream = PushbackStream(theirs)
    await ours.send_all((head or upgrade_head()) + body)
    request = await enter_http2(stream, "")
    assert isinstance(request, UpgradeRequest)
    assert await ours.receive_some() == SWITCHING
    server = Http2ServerConnection(stream, handler, limits or Http2Limits(), upgrade=request)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.run)
        yield FramePeer(ours), server
        nursery.cancel_scope.cancel()


async def echo(head, stream):
    body = b""
    while data := await stream.receive_some():
        body += data
    stream.send_headers([(b":status", b"200"), (b"x-path", head.path.encode())])
    await stream.send_data(b"<" + body + b">")
    stream.end()


async def test_stream_1_is_answered_before_the_preface_comes():
    """RFC 7540 section 3.2: the server begins with SETTINGS and may answer at once."""
    async with upgraded(echo) as (peer, _server):
        assert isinstance(await peer.receive(), SettingsFrame)
        answer = await peer.receive_a(HeadersFrame, stream_id=1)
        assert dict(peer.decoder.decode(answer.data)) == {":status": "200", "x-path": "/s.S/M"}
        data = await peer.receive_a(DataFrame, stream_id=1)
        assert data.data == b"<>"
        assert "END_STREAM" in data.flags


async def test_then_it_is_an_ordinary_connection():
    async with upgraded(echo) as (peer, _server):
        await peer.start()
        await peer.receive_a(DataFrame, stream_id=1)
        settings = await peer.receive_a(SettingsFrame)
        assert "ACK" in settings.flags, "of the SETTINGS frame; those of the upgrade get none (section 3.2.1)"
        await peer.request(3, None, "END_STREAM")
        assert (await peer.receive_a(DataFrame, stream_id=3)).data == b"<>"


async def test_the_body_of_the_upgrade_is_the_body_of_the_request():
    head = upgrade_head(b"Content-Length: 5", line=b"POST /s.S/M HTTP/1.1")
    async with upgraded(echo, head, b"abcde" + PREFACE) as (peer, _server):
        assert (await peer.receive_a(DataFrame, stream_id=1)).data == b"<abcde>"
        await peer.send(SettingsFrame(0))
        await peer.receive_a(SettingsFrame, flags={"ACK"})


async def test_the_settings_of_the_upgrade_hold():
    async with upgraded(echo, upgrade_head(settings=((4, 1), (1, 2**32 - 1)))) as (peer, server):
        assert (await peer.receive_a(DataFrame)).data == b"<"
        await wait_all_tasks_blocked()
        connection = server._driver.connection._h2
        assert connection.remote_settings[SettingCodes.INITIAL_WINDOW_SIZE] == 1
        assert connection.encoder.header_table_size == 4096, "our memory is not the client's to allot"


async def test_the_client_has_used_stream_1():
    async with upgraded(echo) as (peer, _server):
        await peer.start()
        await peer.receive_a(DataFrame, stream_id=1)
        await peer.request(1, None, "END_STREAM")
        answers = [type(frame) for frame in await peer.rest()]
        assert GoAwayFrame in answers or RstStreamFrame in answers


async def test_a_second_request_of_http_1_behind_the_upgrade_is_no_request():
    """CVE-2022-41721 and its kind: what follows is HTTP/2 or nothing."""
    served = []

    async def note(head, stream):
        served.append(head.path)
        await echo(head, stream)

    smuggled = b"GET /admin HTTP/1.1\r\nHost: hub\r\n\r\n" * 3
    async with upgraded(note, None, smuggled) as (peer, _server):
        assert any(
            isinstance(frame, GoAwayFrame) and frame.error_code != ErrorCodes.NO_ERROR
            for frame in await peer.rest()
        )
    assert served in ([], ["/s.S/M"])


async def test_a_request_that_would_not_be_served_is_refused_on_stream_1():
    async with upgraded(echo, upgrade_head(line=b"OPTIONS * HTTP/1.1")) as (peer, _server):
        answer = await peer.receive_a(HeadersFrame, stream_id=1)
        assert dict(peer.decoder.decode(answer.data)) == {":status": "400"}
        await peer.start()
        await peer.request(3, None, "END_STREAM")
        assert (await peer.receive_a(DataFrame, stream_id=3)).data == b"<>"


async def test_who_never_sends_the_preface_is_not_kept(autojump_clock):
    async with upgraded(echo) as (peer, _server):
        begin = trio.current_time()
        last = (await peer.rest())[-1]
        assert (type(last), last.error_code) == (GoAwayFrame, ErrorCodes.SETTINGS_TIMEOUT)
        assert trio.current_time() - begin == 10


async def test_a_cancelled_call_of_the_upgrade():
    cancelled = trio.Event()

    async def hang(_head, _stream):
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async with upgraded(hang) as (peer, _server):
        await peer.start()
        await peer.send(RstStreamFrame(1, error_code=ErrorCodes.CANCEL))
        await cancelled.wait()
        await peer.request(3, REQUEST, "END_STREAM")


async def test_draining_serves_the_upgraded_request():
    async with upgraded(echo) as (peer, server):
        server.drain()
        await peer.start()
        frames = await peer.rest()
        assert any(isinstance(frame, DataFrame) and frame.data == b"<>" for frame in frames)
        assert isinstance(frames[-1], GoAwayFrame)
