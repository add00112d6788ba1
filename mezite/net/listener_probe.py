# SPDX-License-Identifier: Apache-2.0
"""Finding out what listens at an address, by knocking in the protocols of a hub's ports.

Used when a connection has failed already and the question is why. Nothing that is learned here is trusted for
anything but the words of an error message: the other end may say what it likes.
"""

from __future__ import annotations

import json

import attrs
import trio

from mezite.core.wrong_doors import Answer

from .addresses import split_host_port
from .http1_client import Http1ClientError, Response, request
from .outbound import Outbound
from .tls_contexts import unverified_client_context
from .tls_stream import TlsError, TlsStream

__all__ = ["what_listens"]

GREETING_SECONDS = 0.5
"""An SSH server greets in the first round trip; what waits for us has cost no more than this."""

KNOCK_SECONDS = 4.0
"""For each of the at most three knocks."""

HUB_ALPN = ("mezite-tunnel/1", "mezite-connect/1", "http/1.1", "h2")
"""In the order of how much each tells: an ordinary web server takes one of the last two."""

PING = "/v1/webapi/ping"

_ANSWER_OF_ALPN = {
    "mezite-tunnel/1": Answer.TUNNEL,
    "mezite-connect/1": Answer.CONNECT,
    "h2": Answer.GRPC,
}


async def what_listens(
    address: str,
    default_port: int,
    *,
    outbound: Outbound | None = None,
    knock_seconds: float = KNOCK_SECONDS,
) -> Answer:
    """Knock at ``host[:port]``: at most three connections, ``knock_seconds`` each; the direct way by default.

    Raises :exc:`DialError` when no connection comes about.
    """
    knocker = _Knocker(address, default_port, outbound or Outbound(), knock_seconds)
    greeting = await knocker.greeting()
    if greeting:
        return Answer.SSH if greeting.startswith(b"SSH-") else Answer.PLAIN
    answer = await knocker.knock_in_tls()
    return await knocker.knock_in_cleartext() if answer is None else answer


@attrs.frozen
class _Knocker:
    address: str
    default_port: int
    outbound: Outbound
    seconds: float

    async def greeting(self) -> bytes:
        """What a server says that speaks first; empty when it waits for us, or closes."""
        async with await self._dial() as stream:
            with trio.move_on_after(GREETING_SECONDS):
                return await _receive(stream)
        return b""

    async def knock_in_tls(self) -> Answer | None:
        """What TLS tells, or None when it is not spoken."""
        stream = TlsStream(
            await self._dial(),
            unverified_client_context(HUB_ALPN),
            server_side=False,
            server_hostname=split_host_port(self.address, self.default_port)[0],
        )
        try:
            with trio.move_on_after(self.seconds):
                await stream.do_handshake()
                if stream.alpn in _ANSWER_OF_ALPN:
                    return _ANSWER_OF_ALPN[stream.alpn]
                return await self._ask_for_a_hub(stream)
            return Answer.SILENT
        except TlsError as error:
            if _is_no_tls(error):
                return None
            # A port of a hub that speaks no TLS refuses it politely, in TLS.
            cleartext = await self.knock_in_cleartext()
            return Answer.HTTP if cleartext is Answer.HTTP else Answer.TLS
        except trio.BrokenResourceError:
            return None
        finally:
            await trio.aclose_forcefully(stream)

    async def _ask_for_a_hub(self, stream: TlsStream) -> Answer:
        """A web server, ours or another; or TLS with something else in it."""
        headers = [("accept", "application/json"), ("connection", "close")]
        try:
            response = await request(stream, "GET", PING, headers, host=self.address, deadline=self.seconds)
        except (Http1ClientError, trio.BrokenResourceError):
            return Answer.TLS
        if response.status == 400 and b"MEZITE_" in response.body:
            # A hub's other port, saying in HTTP that it is none for browsers: TLS was ended on the way to it.
            return Answer.TLS
        return Answer.WEB if _is_hub(response) else Answer.OTHER_HTTPS

    async def knock_in_cleartext(self) -> Answer:
        """What a request in cleartext is answered."""
        async with await self._dial() as stream:
            with trio.move_on_after(self.seconds):
                try:
                    await stream.send_all(b"GET / HTTP/1.1\r\nHost: doctor\r\nConnection: close\r\n\r\n")
                except trio.BrokenResourceError:
                    return Answer.CLOSED
                answer = await _receive(stream)
                if not answer:
                    return Answer.CLOSED
                return Answer.HTTP if answer.startswith(b"HTTP/1.") else Answer.PLAIN
        return Answer.SILENT

    async def _dial(self) -> trio.abc.Stream:
        return await self.outbound.dial(self.address, self.default_port, deadline_seconds=self.seconds)


def _is_hub(response: Response) -> bool:
    try:
        values = json.loads(response.body)
    except ValueError:
        return False
    return response.status == 200 and isinstance(values, dict) and "cluster_name" in values


def _is_no_tls(error: TlsError) -> bool:
    """Whether the peer's answer to our first message was no TLS, or none at all."""
    signs = ("wrong version number", "record layer failure", "truncated", "ended", "unexpected message")
    return any(sign in error.reason for sign in signs)


async def _receive(stream: trio.abc.ReceiveStream) -> bytes:
    try:
        return bytes(await stream.receive_some(4096))
    except trio.BrokenResourceError:
        return b""
