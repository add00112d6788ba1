# SPDX-License-Identifier: Apache-2.0
"""One port on the way; the hub's own ports are in tests/cli/test_*_doctor.py."""

from __future__ import annotations

import pytest
import trio

from mezite.core.diagnosis import StepFailedError
from mezite.core.outbound_proxy import ProxySettings
from mezite.core.wrong_doors import Door
from mezite.net.diagnosis_walk import NothingToDoError
from mezite.net.hop import Hop, describe_session, other_door, wrong_door
from mezite.net.outbound import Outbound
from mezite.net.tls_contexts import client_context
from mezite.testing.self_signed import self_signed_pem
from tests.loopback import listening
from tests.net.fronts import tls_front

PEM = self_signed_pem()


def hop(address: str, door: Door = Door.TUNNEL, **proxies: str) -> Hop:
    settings = ProxySettings.from_environment(proxies)
    return Hop(address, door, "SETTING", Outbound(proxies=settings))


async def silent(stream: trio.SocketStream) -> None:
    await stream.receive_some()


async def test_a_name_and_its_addresses() -> None:
    assert "127.0.0.1" in await hop("localhost").look_up()
    with pytest.raises(NothingToDoError, match=r"127\.0\.0\.1 is an address already"):
        await hop("127.0.0.1:3024").look_up()
    with pytest.raises(NothingToDoError, match=r"the proxy proxy\.example:3128 looks it up"):
        await hop("hub.example", HTTPS_PROXY="http://proxy.example:3128").look_up()


async def test_an_address_that_cannot_be_read() -> None:
    with pytest.raises(StepFailedError, match="write host:port into SETTING"):
        await hop("a b:c").look_up()


async def test_a_proxy_that_is_not_there() -> None:
    far = hop("hub.example:3024", HTTPS_PROXY="http://127.0.0.1:1")
    with pytest.raises(StepFailedError, match="HTTPS_PROXY"):
        await far.connect()
    assert await other_door(far) is None
    assert "and then: " in (await wrong_door(far, "cut")).why


async def test_the_session_of_a_balancer() -> None:
    async with listening(silent) as target, tls_front(target, PEM) as front:
        near = hop(front)
        assert await near.connect() == front
        stream = await near.secure(client_context([PEM[0]], ()), server_hostname="localhost")
        assert describe_session(stream) == (
            f"{stream.version}, no protocol named, certificate of localhost by localhost, until 2100-01-01T00:00:00Z"
        )
        await near.aclose()
        await near.aclose()


async def test_a_certificate_that_nobody_vouches_for() -> None:
    async with listening(silent) as target, tls_front(target, PEM) as front:
        near = hop(front)
        await near.connect()
        with pytest.raises(StepFailedError, match="believe me") as failed:
            await near.secure(client_context(None, ()), server_hostname="localhost", hint="believe me")
        assert "verify failed" in failed.value.why
        await near.aclose()


async def test_a_connection_that_is_cut() -> None:
    async def hang_up(stream: trio.SocketStream) -> None:
        await stream.receive_some()

    async with listening(hang_up) as address:
        near = hop(address)
        await near.connect()
        with pytest.raises(StepFailedError, match="closed without an answer"):
            await near.secure(client_context(None, ()), server_hostname="localhost")
        assert await other_door(near) is None
        await near.aclose()


async def test_another_door() -> None:
    async def greet(stream: trio.SocketStream) -> None:
        await stream.send_all(b"SSH-2.0-OpenSSH_9.2\r\n")
        await stream.receive_some()

    async with listening(greet) as address:
        advice = await other_door(hop(address))
        assert advice is not None
        assert advice.hint.startswith("SETTING must point to the tunnel port (3024), not the SSH port (")
