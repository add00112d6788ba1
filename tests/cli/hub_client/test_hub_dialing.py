# SPDX-License-Identifier: Apache-2.0
"""msh and what stands in front of the hub's SSH port (threat F2: the inner session is always mutual and checked)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from mezite.cli.hub_client.hub_dialing import connect_hub
from mezite.cli.hub_client.profile_store import CurrentProfile, Profile, ProfileStore
from mezite.cli.terminal.errors import CliError
from mezite.net.addresses import split_host_port
from mezite.net.byte_streams import relay
from mezite.net.dialer import DialError
from mezite.net.tls_stream import TlsStream
from mezite.testing.self_signed import self_signed_pem
from tests.hub.live_hub import LiveHub, live_hub
from tests.loopback import listening
from tests.net.fronts import answering, tls_front

PEM = self_signed_pem()


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ProfileStore:
    monkeypatch.setenv("MSH_HOME", str(tmp_path / "msh"))
    return ProfileStore(tmp_path / "msh")


@asynccontextmanager
async def hub_and_alice(tmp_path: Path) -> AsyncIterator[tuple[LiveHub, CurrentProfile, Profile]]:
    async with live_hub(tmp_path / "hub") as hub:
        current, profile = await hub.user()
        yield hub, current, attrs.evolve(profile, front_roots=PEM[0])


async def connects(current: CurrentProfile, profile: Profile) -> bool:
    stream = await connect_hub(current, profile)
    await trio.aclose_forcefully(stream)
    return stream.alpn == "mezite-connect/1"


async def test_a_balancer_is_noticed_and_remembered(tmp_path: Path, store: ProfileStore) -> None:
    async with (
        hub_and_alice(tmp_path) as (hub, current, profile),
        tls_front(hub.address("ssh"), PEM) as front,
    ):
        behind = attrs.evolve(current, ssh_addr=front)
        store.save(behind, profile)
        assert await connects(behind, profile)
        assert store.current() == attrs.evolve(behind, carrier="tls")
        assert store.load(behind).front_roots == PEM[0]
        # The next connection does not pay twice.
        assert await connects(store.current(), profile)


async def test_a_balancer_that_is_gone(tmp_path: Path, store: ProfileStore) -> None:
    """Found out in the same way; a hub that ends outer sessions itself would not even notice."""
    async with hub_and_alice(tmp_path) as (hub, current, profile):

        async def mutual_only(stream: trio.SocketStream) -> None:
            tls = TlsStream(stream, hub.hub.tls.connect, server_side=True)
            await tls.do_handshake()
            await tls.receive_some()

        assert await connects(attrs.evolve(current, carrier="tls"), profile)
        async with listening(mutual_only) as address:
            direct = attrs.evolve(current, carrier="tls", ssh_addr=address)
            store.save(direct, profile)
            assert await connects(direct, profile)
        assert store.current().carrier == "tcp"


async def test_a_home_that_cannot_be_written(tmp_path: Path, store: ProfileStore) -> None:
    async with (
        hub_and_alice(tmp_path) as (hub, current, profile),
        tls_front(hub.address("ssh"), PEM) as front,
    ):
        assert not store.root.exists()
        assert await connects(attrs.evolve(current, ssh_addr=front), profile)


async def test_another_profile_is_left_alone(tmp_path: Path, store: ProfileStore) -> None:
    async with (
        hub_and_alice(tmp_path) as (hub, current, profile),
        tls_front(hub.address("ssh"), PEM) as front,
    ):
        other = attrs.evolve(current, user="bob")
        store.save(other, profile)
        assert await connects(attrs.evolve(current, ssh_addr=front), profile)
        assert store.current() == other


async def test_a_front_that_nobody_vouches_for(tmp_path: Path, store: ProfileStore) -> None:
    async with (
        hub_and_alice(tmp_path) as (hub, current, profile),
        tls_front(hub.address("ssh"), PEM) as front,
    ):
        behind, stranger = attrs.evolve(current, ssh_addr=front), attrs.evolve(profile, front_roots=b"system")
        store.save(behind, stranger)
        with pytest.raises(CliError) as refused:
            await connect_hub(behind, stranger)
        assert refused.value.what == f"cannot connect to the hub at {front}"
        assert "and as a load balancer that ends TLS: certificate verify failed" in refused.value.why
        assert "give its CA with --ca-file" in refused.value.hint
        assert store.current().carrier == "tcp"


async def test_a_good_front_with_another_hub_behind_it(tmp_path: Path, store: ProfileStore) -> None:
    """A certificate for the name does not make it the hub."""
    async with (
        hub_and_alice(tmp_path) as (_hub, current, profile),
        live_hub(tmp_path / "other", fresh=True) as other,
        tls_front(other.address("ssh"), PEM) as front,
    ):
        behind = attrs.evolve(current, ssh_addr=front)
        store.save(behind, profile)
        with pytest.raises(CliError) as refused:
            await connect_hub(behind, profile)
        assert "as a load balancer that ends TLS: certificate verify failed" in refused.value.why


async def test_a_hub_of_another_cluster_is_not_asked_twice(tmp_path: Path, store: ProfileStore) -> None:
    """A certificate of our CA for something else is an attack, not a balancer."""
    asked = 0
    async with hub_and_alice(tmp_path) as (hub, current, profile):

        async def serve(stream: trio.SocketStream) -> None:
            nonlocal asked
            asked += 1
            await relay(stream, await trio.open_tcp_stream(*split_host_port(hub.address("ssh"), 0)))

        async with listening(serve) as address:
            with pytest.raises(CliError) as refused:
                await connect_hub(attrs.evolve(current, ssh_addr=address, cluster="other"), profile)
    assert refused.value.what.startswith("cannot trust the hub at")
    assert asked == 1


async def test_a_damaged_certificate(tmp_path: Path, store: ProfileStore) -> None:
    async with hub_and_alice(tmp_path) as (_hub, current, profile):
        with pytest.raises(CliError, match="your certificate cannot be used"):
            await connect_hub(current, attrs.evolve(profile, tls_key=b"-----BEGIN X"))


async def test_an_answer_that_never_comes(
    tmp_path: Path, store: ProfileStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mezite.cli.hub_client.hub_dialing.CONNECT_SECONDS", 0.3)

    async def serve(_stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async with hub_and_alice(tmp_path) as (_hub, current, profile), listening(serve) as address:
        with pytest.raises(CliError, match=r"does not answer within 0\.3 s"):
            await connect_hub(attrs.evolve(current, ssh_addr=address), profile)


# --- WebSockets ----------------------------------------------------------------------------------------------


async def test_a_websocket_that_was_chosen(tmp_path: Path, store: ProfileStore) -> None:
    async with hub_and_alice(tmp_path) as (_hub, current, profile):
        # The SSH port is out of reach, and nobody asks for it.
        chosen = attrs.evolve(current, carrier="websocket", ssh_addr="127.0.0.1:1")
        store.save(chosen, profile)
        assert await connects(chosen, profile)
        assert store.current() == chosen
        with pytest.raises(DialError, match=r"where only HTTPS passes: msh login --proxy=.* --websocket"):
            await connect_hub(attrs.evolve(chosen, carrier="tcp"), profile)


async def test_a_front_that_passes_no_websocket(tmp_path: Path, store: ProfileStore) -> None:
    async with (
        hub_and_alice(tmp_path) as (_hub, current, profile),
        listening(answering(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")) as plain,
        tls_front(plain, PEM) as front,
    ):
        with pytest.raises(CliError) as refused:
            await connect_hub(attrs.evolve(current, carrier="websocket", proxy_addr=front), profile)
        assert refused.value.what == f"cannot connect to the hub at {front} in a WebSocket"
        assert refused.value.why == "it answered with status 502"
        assert "does a balancer in front pass on WebSockets?" in refused.value.hint
