# SPDX-License-Identifier: Apache-2.0
"""`proxy.tls_mode: file`: bad pairs are named, good ones are shown, and a reload drops nobody."""

from __future__ import annotations

import datetime
import os
import ssl
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
import trio

from mezite.config.kinds import HostPort
from mezite.config.schema import HubConfig, KeypairConfig, ProxyConfig
from mezite.hub.web_certificate import Keypair, KeypairError, configured_keypair, keypair_notes
from mezite.net.dialer import dial
from mezite.net.http1_client import request
from mezite.net.tls_contexts import client_context, unverified_client_context
from mezite.net.tls_stream import TlsStream
from tests.hub.keypairs import certificate, ecdsa_key, key_pem, rsa_key, write_pair
from tests.hub.live_hub import ANYWHERE, LiveHub, live_hub

NOW = int(datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC).timestamp() * 1000)
DAY = datetime.timedelta(days=1)
TODAY = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
KEY = ecdsa_key()
GOOD = certificate(KEY, "hub.example", "*.apps.example")


def config(keypair: KeypairConfig, **proxy: object) -> HubConfig:
    return HubConfig(proxy=ProxyConfig(tls_mode="file", keypair=keypair, **proxy))


def read(folder: Path, certificate_pem: bytes = GOOD, private_key_pem: bytes | None = None) -> Keypair:
    pem = key_pem(KEY) if private_key_pem is None else private_key_pem
    pair = configured_keypair(config(write_pair(folder, certificate_pem, pem)), NOW)
    assert pair is not None
    return pair


def test_a_good_pair(tmp_path: Path) -> None:
    pair = read(tmp_path)
    assert pair.names == ("hub.example", "*.apps.example")
    assert pair.expires_at == 4102444800000
    assert "PRIVATE" not in repr(pair)


def test_a_chain_and_an_rsa_key(tmp_path: Path) -> None:
    key = rsa_key()
    assert read(tmp_path, certificate(key) + GOOD, key_pem(key)).names == ()


@pytest.mark.parametrize(
    "proxy",
    [ProxyConfig(), ProxyConfig(tls_mode="off"), ProxyConfig(tls_mode="file", enabled=False)],
)
def test_other_modes_read_no_files(proxy: ProxyConfig) -> None:
    proxy = attrs.evolve(proxy, keypair=KeypairConfig(cert_file="/nowhere", key_file="/nowhere"))
    assert configured_keypair(HubConfig(proxy=proxy), NOW) is None


def tamper_missing(folder: Path) -> None:
    (folder / "web.key").unlink()


def tamper_directory(folder: Path) -> None:
    (folder / "web.crt").unlink()
    (folder / "web.crt").mkdir()


def tamper_permissions(folder: Path) -> None:
    """Root may read everything but a link that leads nowhere it may follow."""
    (folder / "web.key").chmod(0)


def tamper_size(folder: Path) -> None:
    (folder / "web.crt").write_bytes(GOOD + bytes(1024 * 1024))


@pytest.mark.parametrize(
    ("tamper", "error"),
    [
        (
            tamper_missing,
            "proxy.keypair.key_file {}/web.key cannot be read: no such file or directory; give the",
        ),
        (
            tamper_directory,
            "proxy.keypair.cert_file {}/web.crt cannot be read: is a directory; give the path",
        ),
        (tamper_size, "proxy.keypair.cert_file {}/web.crt cannot be used: it is larger than 1 MiB"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, tamper: Callable[[Path], None], error: str) -> None:
    keypair = write_pair(tmp_path, GOOD, key_pem(KEY))
    tamper(tmp_path)
    with pytest.raises(KeypairError) as refused:
        configured_keypair(config(keypair), NOW)
    assert str(refused.value).startswith(error.format(tmp_path))
    assert refused.value.exit_code == 2


def test_permissions(tmp_path: Path) -> None:
    """As an ordinary user; root may read everything."""
    keypair = write_pair(tmp_path, GOOD, key_pem(KEY))
    tamper_permissions(tmp_path)
    nobody = 65534
    if os.geteuid() == 0:
        for folder in (tmp_path, *tmp_path.parents):
            if folder.stat().st_uid == 0 and not folder.stat().st_mode & 0o001:
                folder.chmod(folder.stat().st_mode | 0o011)
        os.seteuid(nobody)
    try:
        with pytest.raises(KeypairError, match="permission denied; let the user that mezhub runs as read it"):
            configured_keypair(config(keypair), NOW)
    finally:
        if os.getuid() == 0:
            os.seteuid(0)


@pytest.mark.parametrize(
    ("certificate_pem", "private_key_pem", "error"),
    [
        (b"junk", None, "has no certificate in PEM"),
        (key_pem(KEY), None, "has no certificate in PEM"),
        (GOOD, b"junk", "has no private key in PEM"),
        (GOOD, GOOD, "has no private key in PEM"),
        (GOOD, key_pem(KEY, b"secret"), "is encrypted; store it without a passphrase"),
        (GOOD, key_pem(ecdsa_key()), "not the key of the first certificate"),
        (certificate(rsa_key()) + GOOD, None, "server's certificate ahead of the chain"),
        (certificate(KEY, end=TODAY - DAY), None, "it expired at 2026-10-31T00:00:00.000Z; renew it"),
        (certificate(KEY, begin=TODAY + DAY), None, "not valid before 2026-11-02T00:00:00.000Z; check"),
        (
            GOOD + b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            None,
            "no certificate in PEM",
        ),
    ],
)
def test_pairs_that_cannot_serve(
    tmp_path: Path, certificate_pem: bytes, private_key_pem: bytes | None, error: str
) -> None:
    with pytest.raises(KeypairError, match=error):
        read(tmp_path, certificate_pem, private_key_pem)


def test_a_key_that_the_tls_library_finds_too_weak(tmp_path: Path) -> None:
    key = rsa_key(1024)
    with pytest.raises(KeypairError, match="too small; get a certificate with a P-256 or RSA-2048 key"):
        read(tmp_path, certificate(key), key_pem(key))


def test_notes(tmp_path: Path) -> None:
    soon = certificate(KEY, "hub.example", "*.apps.example", end=TODAY + 3 * DAY)
    keypair = write_pair(tmp_path, soon, key_pem(KEY))
    pair = configured_keypair(config(keypair), NOW)
    assert pair is not None
    assert keypair_notes(config(keypair), pair, NOW) == [
        "proxy.keypair.cert_file: the certificate expires at 2026-11-04T00:00:00.000Z"
    ]
    (tmp_path / "web.key").chmod(0o644)
    other = config(keypair, public_addr=HostPort("other.example", 443))
    notes = keypair_notes(other, pair, NOW)
    assert "does not name other.example" in notes[1]
    assert "use mode 0600" in notes[2]
    for host in ("Hub.Example", "a.apps.example"):
        assert len(keypair_notes(config(keypair, public_addr=HostPort(host, 443)), pair, NOW)) == 2
    for host in ("a.b.apps.example", "apps.example"):
        assert len(keypair_notes(config(keypair, public_addr=HostPort(host, 443)), pair, NOW)) == 3


# --- in a hub -----------------------------------------------------------------------------------------------


async def shown(hub: LiveHub, port: str) -> bytes:
    async with TlsStream(
        await dial(hub.address(port), 1), unverified_client_context(("h2",)), server_side=False
    ) as stream:
        await stream.do_handshake()
        found = stream.peer_certificate()
    assert found is not None
    return found


def der(pem: bytes) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pem.decode())


async def ping(stream: trio.abc.Stream) -> int:
    answer = await request(stream, "GET", "/v1/webapi/ping", [], b"", host="localhost", max_body=65536)
    return answer.status


async def test_the_public_side_shows_it_and_a_reload_drops_nobody(tmp_path: Path) -> None:
    first = certificate(rsa := rsa_key(), "localhost")
    keypair = write_pair(tmp_path, first, key_pem(rsa))
    proxy = ProxyConfig(
        listen_addr=ANYWHERE,
        ssh_listen_addr=ANYWHERE,
        tunnel_listen_addr=ANYWHERE,
        tls_mode="file",
        keypair=keypair,
    )
    async with live_hub(tmp_path / "hub", proxy=proxy) as hub:
        assert [await shown(hub, port) for port in ("web", "ssh", "tunnel")] == [der(first)] * 3
        assert await shown(hub, "auth") != der(first), "the gRPC port is trusted by the cluster's CA"
        transport, context = await dial(hub.address("web"), 1), client_context([first], ("http/1.1",))
        async with TlsStream(transport, context, server_side=False, server_hostname="localhost") as stream:
            await stream.do_handshake()
            assert await ping(stream) == 200

            write_pair(tmp_path, first, key_pem(ecdsa_key()))
            with pytest.raises(KeypairError, match="not the key"):
                hub.running.reload_certificates(hub.config)
            assert await shown(hub, "web") == der(first), "a broken pair is not taken"

            second = certificate(new := ecdsa_key(), "localhost")
            write_pair(tmp_path, second, key_pem(new))
            hub.running.reload_certificates(hub.config)
            assert await shown(hub, "web") == der(second)
            assert await ping(stream) == 200, "a connection from before goes on"

        hub.running.reload_certificates(attrs.evolve(hub.config, proxy=attrs.evolve(proxy, tls_mode="auto")))
        assert await shown(hub, "web") not in {der(first), der(second)}


async def test_a_hub_does_not_start_with_a_broken_pair(tmp_path: Path) -> None:
    keypair = KeypairConfig(cert_file=str(tmp_path / "none"), key_file=str(tmp_path / "none"))
    proxy = ProxyConfig(listen_addr=ANYWHERE, tls_mode="file", keypair=keypair)
    with pytest.RaisesGroup(pytest.RaisesExc(KeypairError), flatten_subgroups=True):
        async with live_hub(tmp_path / "hub", proxy=proxy):
            raise AssertionError("it started")
