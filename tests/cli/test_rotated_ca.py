# SPDX-License-Identifier: Apache-2.0
"""What an earlier login knows leads to the hub's CA of today, and only there (threat F5)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import trio

from mezite.cli.hub_client.hub_dialing import connect_hub
from mezite.cli.hub_client.profile_store import ProfileStore
from mezite.cli.terminal.errors import CliError
from mezite.core.certificates.x509_issue import certificate_pem
from mezite.services.authorities.keys import Purpose
from mezite.testing.certificates import ThrowAwayCa
from tests.cli.commands import PASSWORD, HubInThread, environment, hub_in_thread, run

BY = {"by": "root", "client_address": "192.0.2.7:1"}


def force(hub: HubInThread, purpose: Purpose, steps: int) -> None:
    """As an administrator in a hurry; and until the listeners have followed."""
    rotation = hub.hub.hub.ground.rotation

    async def take() -> None:
        for _ in range(steps):
            await rotation.force(purpose, **BY)
        # The keeper says what it has only after its listeners work with it.
        while rotation._noted[0] is not hub.hub.hub.ground.authorities.ring:  # noqa: ASYNC110
            await trio.sleep(0.01)

    hub.do(take)


@pytest.fixture(scope="module")
def rotated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[HubInThread, Path, str]]:
    """A hub whose host CAs were replaced after alice's login, the old ones gone; her home; the old pin."""
    folder = tmp_path_factory.mktemp("rotated")
    with hub_in_thread(folder) as hub:
        pin, home = hub.hub.pin, folder / "home"
        login = ["login", "--proxy", hub.hub.address("web"), "--user=root", "--password-stdin"]
        assert hub.msh(home, *login, f"--ca-pin={pin}", stdin=PASSWORD).code == 0
        force(hub, Purpose.HOST_SSH, 3)
        force(hub, Purpose.HOST_TLS, 3)
        assert hub.hub.pin != pin
        yield hub, home, pin


def copy_of(home: Path, folder: Path) -> ProfileStore:
    store = ProfileStore(home)
    copy = ProfileStore(folder / "copy")
    copy.save(store.current(), store.load(store.current()))
    return copy


def cas_of(hub: HubInThread) -> tuple[bytes, bytes]:
    authorities = hub.hub.hub.ground.authorities
    lines = "".join(f"@cert-authority * {line}\n" for line in authorities.host_ssh_ca_lines)
    return "".join(authorities.host_tls_ca_pem).encode(), lines.encode()


def test_a_connection_brings_the_profile_up_to_date(
    rotated: tuple[HubInThread, Path, str], tmp_path: Path
) -> None:
    hub, home, _pin = rotated
    store = copy_of(home, tmp_path)
    current = store.current()
    old = store.load(current)
    assert (old.ca_pem, old.known_hosts) != cas_of(hub)

    async def connect() -> None:
        stream = await connect_hub(current, old)
        await trio.aclose_forcefully(stream)

    with environment(MSH_HOME=str(store.root)):
        trio.run(connect)
    new = store.load(current)
    assert (new.ca_pem, new.known_hosts) == cas_of(hub)
    assert (new.ssh_key, new.tls_certificate) == (old.ssh_key, old.tls_certificate)


def test_who_knows_another_ca_is_led_nowhere(rotated: tuple[HubInThread, Path, str], tmp_path: Path) -> None:
    """The hub of another cluster at the same address: its lists are signed by nobody whom the profile knows."""
    hub, home, _pin = rotated
    store = copy_of(home, tmp_path)
    current = store.current()
    foreign = certificate_pem(ThrowAwayCa(int(time.time())).host_tls_ca)
    profile = attrs.evolve(store.load(current), ca_pem=foreign)
    store.save(current, profile)

    async def connect() -> None:
        with pytest.raises(CliError, match="cannot connect to the hub"):
            await connect_hub(current, profile)

    with environment(MSH_HOME=str(store.root)):
        trio.run(connect)
    assert store.load(current) == profile
    login = ["login", "--proxy", hub.hub.address("web"), "--user=root", "--password-stdin"]
    refused = hub.msh(store.root, *login, stdin=PASSWORD)
    assert refused.code == 1
    assert "that one has signed nothing about another; give --ca-pin" in refused.err


def test_a_login_needs_no_new_pin(rotated: tuple[HubInThread, Path, str], tmp_path: Path) -> None:
    hub, home, _pin = rotated
    store = copy_of(home, tmp_path)
    login = ["login", "--proxy", hub.hub.address("web"), "--user=root", "--password-stdin"]
    again = hub.msh(store.root, *login, stdin=PASSWORD)
    assert again.code == 0, again.err
    assert "the hub's CA has changed: the one of your last login vouches for the new one" in again.err
    assert store.load(store.current()).ca_pem == cas_of(hub)[0]
    quiet = hub.msh(store.root, *login, stdin=PASSWORD)
    assert (quiet.code, "has changed" in quiet.err) == (0, False)


def test_an_old_pin_still_names_the_hub(rotated: tuple[HubInThread, Path, str], tmp_path: Path) -> None:
    hub, _home, pin = rotated
    where = f"--auth-server={hub.hub.address('auth')}"
    session = run(
        "mezctl", where, f"--ca-pin={pin}", "login", "--username=root", "--password-stdin", stdin=PASSWORD
    )
    assert session.code == 0, session.err
    login = ["login", "--proxy", hub.hub.address("web"), "--user=root", "--password-stdin"]
    assert hub.msh(tmp_path / "fresh", *login, f"--ca-pin={pin}", stdin=PASSWORD).code == 0
    wrong = run("mezctl", where, f"--ca-pin=sha256:{'0' * 64}", "--token=t", "users", "ls")
    assert "is not the one that the CA pin names" in wrong.err
