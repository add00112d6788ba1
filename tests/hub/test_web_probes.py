# SPDX-License-Identifier: Apache-2.0
"""What the self-test says of a web port that loses things; tests/hub/test_balancer_probe.py has real balancers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from mezite.core.diagnosis import StepFailedError
from mezite.core.wrong_doors import Door
from mezite.hub.probe_line import Line
from mezite.hub.web_probes import WebProbes
from mezite.net.diagnosis_walk import NothingToDoError
from mezite.net.hop import Hop
from mezite.services.self_probes import SelfProbes
from mezite.testing.self_signed import self_signed_pem
from tests.loopback import listening
from tests.net.fronts import tls_front

PAGE = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: close\r\n\r\nhello"


async def answer(text: bytes, stream: trio.SocketStream) -> None:
    await stream.receive_some(65536)
    await stream.send_all(text)


@asynccontextmanager
async def web(text: bytes) -> AsyncIterator[WebProbes]:
    probes = SelfProbes()
    async with listening(partial(answer, text)) as target, tls_front(target, self_signed_pem()) as front:
        with probes.expect() as hello, probes.expect() as inside:
            line = Line(
                hop=Hop(front, Door.WEB, "SETTING"),
                protocols=("http/1.1",),
                probes=probes,
                hello=hello,
                inside=inside,
                is_own_certificate=lambda _certificate: False,
            )
            found = WebProbes(line, 1)
            await line.connect()
            assert (await line.secure()).startswith("ended by a load balancer")
            yield found
            await found.aclose()
            await line.hop.aclose()


async def test_a_web_server_that_is_no_hub() -> None:
    async with web(PAGE) as probes:
        with pytest.raises(StepFailedError, match="status 200, and no answer of a hub"):
            await probes.ask()
        with pytest.raises(StepFailedError, match="the probe did not arrive at this hub"):
            await probes.line.judge_address()
        with pytest.raises(StepFailedError, match="the upgrade is answered with 200"):
            await probes.upgrade()
        with pytest.raises(NothingToDoError):
            await probes.stay_idle()


async def test_headers_that_do_not_pass() -> None:
    async with web(b"HTTP/1.1 431 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n") as probes:
        with pytest.raises(StepFailedError, match="a header of 4 KiB does not pass: status 431"):
            await probes.find_largest_header()


async def test_no_usable_answer() -> None:
    async with web(b"gibberish\r\n\r\n") as probes:
        with pytest.raises(StepFailedError, match=r"let the load balancer forward HTTP/1\.1"):
            await probes.ask()
        with pytest.raises(StepFailedError, match="the upgrade is answered with nothing"):
            await probes.upgrade()
        with pytest.raises(StepFailedError, match="does not pass: the response is malformed"):
            await probes.find_largest_header()


async def test_a_hub_without_web_sockets() -> None:
    async with web(b"HTTP/1.1 501 Not Implemented\r\n\r\n") as probes:
        with pytest.raises(NothingToDoError):
            await probes.upgrade()


async def test_a_web_socket_that_does_not_last() -> None:
    async with web(b"HTTP/1.1 101 Switching Protocols\r\n\r\n") as probes:
        assert await probes.upgrade() == "101, switched"
        with pytest.raises(StepFailedError, match="was closed after 0"):
            await probes.stay_idle()
