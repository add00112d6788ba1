# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import ssl
from pathlib import Path

import pytest
import trio
from cryptography.hazmat.primitives.serialization import Encoding
from trio.testing import memory_stream_pair

from mezite.config.kinds import HostPort, ListenAddress
from mezite.config.schema import AuthConfig, HubConfig, ProxyConfig
from mezite.core.certificates.x509_issue import load_certificates
from mezite.hub.assembly import open_hub
from mezite.hub.ground import open_ground
from mezite.hub.hub_identity import HubIdDamagedError, HubKeys, HubTls, load_hub_id, served_names
from mezite.net.tls_contexts import unverified_client_context
from mezite.net.tls_stream import TlsStream
from mezite.services.sources import system_sources
from tests.hub.live_hub import fill, hub_config

SOURCES = system_sources()
DER = Encoding.DER


def test_the_id_survives_restarts(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    made = load_hub_id(folder, SOURCES)
    assert load_hub_id(folder, SOURCES) == made
    assert load_hub_id(tmp_path / "other", SOURCES) != made
    assert (folder / "hub_id").stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("content", [b"", b"two words", b"\xff\xfe", b"../../etc/passwd\n"])
def test_a_damaged_id_is_no_new_id(tmp_path: Path, content: bytes) -> None:
    """Audit chains and leases hang on it."""
    (tmp_path / "hub_id").write_bytes(content)
    with pytest.raises(HubIdDamagedError) as damaged:
        load_hub_id(tmp_path, SOURCES)
    assert damaged.value.what == f"{tmp_path}/hub_id is damaged"
    assert "restore it from a backup" in damaged.value.hint
    assert (tmp_path / "hub_id").read_bytes() == content


def config(**proxy: object) -> HubConfig:
    return HubConfig(proxy=ProxyConfig(**proxy), auth=AuthConfig())


def test_names_without_a_public_address() -> None:
    names, addresses = served_names(config())
    assert names[:1] == ("localhost",)
    assert names[-1] == "*.localhost"
    assert os.uname().nodename.lower() in (*names, *addresses)
    assert {"127.0.0.1", "::1"} <= set(addresses)
    assert "0.0.0.0" not in addresses


def test_public_and_bound_addresses_are_served() -> None:
    names, addresses = served_names(
        config(
            public_addr=HostPort("Hub.Example.com", 443),
            listen_addr=ListenAddress("192.0.2.1", 443),
            ssh_listen_addr=ListenAddress("", 22),
        )
    )
    assert names[0] == "hub.example.com"
    assert "192.0.2.1" in addresses
    assert "" not in names


async def shown(context: ssl.SSLContext) -> bytes:
    """The certificate that a new connection is shown."""
    ours, theirs = memory_stream_pair()
    near = TlsStream(ours, unverified_client_context(()), server_side=False)
    far = TlsStream(theirs, context, server_side=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(near.do_handshake)
        nursery.start_soon(far.do_handshake)
    certificate = near.peer_certificate()
    assert certificate is not None
    return certificate


async def test_new_handshakes_show_renewed_certificates(tmp_path: Path) -> None:
    await fill(tmp_path)
    async with open_ground(hub_config(tmp_path), SOURCES) as ground:
        tls = HubTls(
            authorities=ground.authorities,
            hub_id=ground.hub_id,
            names=("localhost",),
            addresses=("127.0.0.1",),
        )
        before, ssh_before = await shown(tls.web), tls.ssh_identity().certificate
        assert before == load_certificates(tls.certificates.tls_certificate_pem)[0].public_bytes(DER)
        assert await shown(tls.grpc) == before
        tls.renew()
        after = await shown(tls.web)
        assert after != before
        assert await shown(tls.grpc) == after
        assert tls.ssh_identity().certificate != ssh_before


def test_keys_do_not_show() -> None:
    assert repr(HubKeys()) == "HubKeys()"


async def test_a_ground_is_the_same_after_a_restart(tmp_path: Path) -> None:
    async with open_ground(hub_config(tmp_path), SOURCES) as ground:
        first = (ground.hub_id, ground.authorities.host_pin)
    async with open_ground(hub_config(tmp_path), SOURCES) as ground:
        assert (ground.hub_id, ground.authorities.host_pin) == first
    async with open_hub(hub_config(tmp_path), SOURCES) as hub:
        assert hub.ground.hub_id == first[0]
        assert hub.services.registry.statistics().tunnels == 0
