# SPDX-License-Identifier: Apache-2.0
"""The certificate that applications are shown: checked before it is used, chosen by name, read again on reload."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

import attrs
import pytest

from mezite.config.schema import HubConfig, KeypairConfig, ProxyConfig
from mezite.core.apps.app import App
from mezite.hub.apps_certificate import (
    check_apps_certificate,
    configured_apps_keypair,
    warn_of_unreachable_apps,
)
from mezite.hub.web_certificate import Keypair, KeypairError
from mezite.net.dialer import dial
from mezite.net.tls_contexts import unverified_client_context
from mezite.net.tls_stream import TlsStream
from mezite.services.apps.registration import AppsDomain
from mezite.storage import apps
from tests.hub.keypairs import certificate, ecdsa_key, key_pem, write_pair
from tests.hub.live_hub import ANYWHERE, LiveHub, live_hub
from tests.services.world import make_template, open_world

NOW = 1_790_000_000_000
DOMAIN = "apps.example.com"


def pair_of(*names: str) -> Keypair:
    return Keypair(certificate_pem=b"", key_pem=b"", expires_at=NOW, names=names)


def config(**proxy: object) -> HubConfig:
    return HubConfig(proxy=ProxyConfig(apps_domain=DOMAIN, **proxy))


@pytest.mark.parametrize("names", [(f"*.{DOMAIN}",), ("hub.example.com", "*.Apps.Example.com")])
def test_one_that_covers_them_all(names: tuple[str, ...]) -> None:
    assert check_apps_certificate(config(), pair_of(*names), None) == []
    assert check_apps_certificate(config(), pair_of("hub.example.com"), pair_of(*names)) == []
    assert check_apps_certificate(config(), None, None) == []
    assert check_apps_certificate(HubConfig(), pair_of("hub.example.com"), None) == []


def test_one_that_lists_hosts() -> None:
    (note,) = check_apps_certificate(config(), pair_of(f"wiki.{DOMAIN}", f"grafana.{DOMAIN}"), None)
    assert note.endswith(f"of the applications it covers grafana.{DOMAIN}, wiki.{DOMAIN} only")
    assert note.startswith("proxy.keypair.cert_file: ")


def test_one_that_covers_none_is_refused_with_the_names() -> None:
    with pytest.raises(KeypairError) as refused:
        check_apps_certificate(config(), pair_of("hub.example.com", DOMAIN), None)
    assert str(refused.value) == (
        "proxy.keypair.cert_file cannot be used for applications: proxy.apps_domain is apps.example.com, and the "
        "certificate has no name below it, only apps.example.com, hub.example.com; get one for *.apps.example.com, or "
        "one that lists each application's host, or set proxy.apps_keypair"
    )
    assert refused.value.exit_code == 2
    with pytest.raises(KeypairError, match=r"proxy\.apps_keypair\.cert_file .* only none; .*host$"):
        check_apps_certificate(config(), pair_of(f"*.{DOMAIN}"), pair_of())
    many = pair_of(*(f"h{number}.example.com" for number in range(10)))
    with pytest.raises(KeypairError, match="and 2 more"):
        check_apps_certificate(config(), many, None)


@pytest.mark.parametrize(
    "changes",
    [{"tls_mode": "off"}, {"enabled": False}, {"apps_domain": None}, {"apps_keypair": KeypairConfig()}],
)
def test_files_that_nobody_would_see_are_not_read(changes: dict[str, object]) -> None:
    nowhere = KeypairConfig(cert_file="/nowhere", key_file="/nowhere")
    proxy = attrs.evolve(config(apps_keypair=nowhere).proxy, **changes)
    assert configured_apps_keypair(HubConfig(proxy=proxy), NOW) is None


def test_broken_files_are_named(tmp_path: Path) -> None:
    files = write_pair(tmp_path, certificate(ecdsa_key(), f"*.{DOMAIN}"), key_pem(ecdsa_key()))
    with pytest.raises(
        KeypairError, match=r"proxy\.apps_keypair\.key_file .*first certificate in proxy\.apps_keypair"
    ):
        configured_apps_keypair(config(apps_keypair=files), NOW)


# --- in a hub -----------------------------------------------------------------------------------------------


async def shown(hub: LiveHub, name: str | None, *alpn: str) -> bytes:
    """The certificate that a browser asking for `name` is shown, and the protocol that is agreed on."""
    transport, context = await dial(hub.address("web"), 1), unverified_client_context(alpn or ("http/1.1",))
    async with TlsStream(transport, context, server_side=False, server_hostname=name) as stream:
        await stream.do_handshake()
        found = stream.peer_certificate()
        assert stream.alpn == "http/1.1"
    assert found is not None
    return found


def der(pem: bytes) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pem.decode())


@pytest.mark.parametrize("single_port", [False, True])
async def test_each_name_has_its_certificate_and_a_reload_drops_nobody(
    tmp_path: Path, single_port: bool
) -> None:
    key, (web, first) = ecdsa_key(), (tmp_path / "web", tmp_path / "apps")
    web.mkdir()
    first.mkdir()
    hub_pem, apps_pem = certificate(key, "localhost", f"hub.{DOMAIN}"), certificate(key, f"*.{DOMAIN}")
    proxy = ProxyConfig(
        listen_addr=ANYWHERE,
        ssh_listen_addr=ANYWHERE,
        tunnel_listen_addr=ANYWHERE,
        single_port=single_port,
        tls_mode="file",
        keypair=write_pair(web, hub_pem, key_pem(key)),
        apps_domain=DOMAIN,
        apps_keypair=write_pair(first, apps_pem, key_pem(key)),
    )
    async with live_hub(tmp_path / "hub", proxy=proxy) as hub:
        for name in (f"grafana.{DOMAIN}", f"Grafana.{DOMAIN}", f"a.b.{DOMAIN}"):
            assert await shown(hub, name) == der(apps_pem), name
        for other in ("localhost", None, DOMAIN, f"hub.{DOMAIN}", f"x{DOMAIN}"):
            assert await shown(hub, other) == der(hub_pem), other
        assert hub.hub.services.apps.domain.certificate_names() == (f"*.{DOMAIN}",)

        write_pair(first, certificate(key, "elsewhere.example.com"), key_pem(key))
        with pytest.raises(KeypairError, match=r"no name below it, only elsewhere\.example\.com"):
            hub.running.reload_certificates(hub.config)
        assert await shown(hub, f"grafana.{DOMAIN}") == der(apps_pem), "one that covers nothing is not taken"

        second = certificate(new := ecdsa_key(), f"*.{DOMAIN}", f"*.b.{DOMAIN}")
        write_pair(first, second, key_pem(new))
        hub.running.reload_certificates(hub.config)
        assert await shown(hub, f"grafana.{DOMAIN}") == der(second)
        assert await shown(hub, "localhost") == der(hub_pem)
        assert f"*.b.{DOMAIN}" in hub.hub.services.apps.domain.certificate_names()


async def test_the_hubs_own_certificate_covers_applications(tmp_path: Path) -> None:
    proxy = ProxyConfig(
        listen_addr=ANYWHERE, ssh_listen_addr=ANYWHERE, tunnel_listen_addr=ANYWHERE, apps_domain=DOMAIN
    )
    async with live_hub(tmp_path / "hub", proxy=proxy) as hub:
        roots = "".join(hub.hub.ground.authorities.host_tls_ca_pem)
        context = ssl.create_default_context(cadata=roots)
        context.set_alpn_protocols(["http/1.1"])
        transport = await dial(hub.address("web"), 1)
        async with TlsStream(
            transport, context, server_side=False, server_hostname=f"grafana.{DOMAIN}"
        ) as stream:
            await stream.do_handshake()


async def test_a_hub_does_not_start_when_no_application_would_be_covered(tmp_path: Path) -> None:
    key = ecdsa_key()
    pair = write_pair(tmp_path, certificate(key, "hub.example.com"), key_pem(key))
    proxy = ProxyConfig(listen_addr=ANYWHERE, tls_mode="file", keypair=pair, apps_domain=DOMAIN)
    with pytest.RaisesGroup(
        pytest.RaisesExc(KeypairError, match=r"get one for \*\.apps\.example\.com"), flatten_subgroups=True
    ):
        async with live_hub(tmp_path / "hub", proxy=proxy):
            raise AssertionError("it started")


async def test_applications_that_cannot_be_opened_are_named_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await make_template(tmp_path / "mezhub.db")
    async with open_world(tmp_path / "mezhub.db") as world:
        for number, (name, address) in enumerate(
            [("wiki", f"wiki.{DOMAIN}"), ("old", "old.apps.example.net"), ("grafana", f"grafana.{DOMAIN}")]
        ):
            app = App(name=name, uri="http://a", public_addr=address)
            await world.database.write(apps.insert, app=app, revision=f"r{number}", now=NOW)
        tcp = App(name="redis", uri="tcp://redis:1", protocol="tcp")
        await world.database.write(apps.insert, app=tcp, revision="r9", now=NOW)
        world.apps.domain = AppsDomain(name=DOMAIN, certificate_names=lambda: (f"wiki.{DOMAIN}",))
        with caplog.at_level(logging.WARNING):
            await warn_of_unreachable_apps(world.apps)
        found = {record.app: record.reason for record in caplog.records}
        assert set(found) == {"old", "grafana"}
        assert "is not below proxy.apps_domain" in found["old"]
        assert "no certificate of this hub is for grafana" in found["grafana"]
        caplog.clear()
        world.apps.domain = AppsDomain(name=None)
        await warn_of_unreachable_apps(world.apps)
        world.apps.domain = AppsDomain(name="example.net")
        await warn_of_unreachable_apps(world.apps)
        assert [record.app for record in caplog.records] == ["grafana", "wiki"]
