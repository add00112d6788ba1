# SPDX-License-Identifier: Apache-2.0
"""The hub's test of its own public addresses, with real nginx and HAProxy in front, good ones and broken ones."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from ipaddress import ip_network
from pathlib import Path

import attrs
import pytest

from mezite.api.doctor import LoadBalancerReport
from mezite.config.kinds import HostPort, ListenAddress
from mezite.config.schema import AuthConfig, ProxyConfig
from mezite.core.diagnosis import Finding, Outcome
from mezite.hub.api_server import probe_balancer
from mezite.testing.ports import free_address
from tests.balancers import haproxy, nginx
from tests.hub.live_hub import LiveHub, live_hub

pytestmark = pytest.mark.e2e

HUB_HOST = "127.0.0.2"
"""Where the hub listens; the balancer has the same ports of 127.0.0.1."""

NGINX = "127.0.0.3"
"""Where nginx dials from: else it and the prober were one and the same."""

NAMES = ("web", "ssh", "tunnel", "auth")


@attrs.frozen
class Ports:
    """One port for each listener, the same in front of the hub and on it."""

    numbers: dict[str, int]

    def front(self, name: str) -> str:
        return f"127.0.0.1:{self.numbers[name]}"

    def hub(self, name: str) -> str:
        return f"{HUB_HOST}:{self.numbers[name]}"

    def listen(self, name: str) -> ListenAddress:
        return ListenAddress(HUB_HOST, self.numbers[name])


def free_ports() -> Ports:
    return Ports({name: int(free_address().rpartition(":")[2]) for name in NAMES})


@asynccontextmanager
async def hub_behind(
    folder: Path, ports: Ports, *, h2c: bool = False, **proxy: object
) -> AsyncIterator[LiveHub]:
    settings = ProxyConfig(
        listen_addr=ports.listen("web"),
        ssh_listen_addr=ports.listen("ssh"),
        tunnel_listen_addr=ports.listen("tunnel"),
        public_addr=HostPort("127.0.0.1", ports.numbers["web"]),
    )
    auth = AuthConfig(listen_addr=ports.listen("auth"), grpc_allow_http=h2c)
    async with live_hub(folder, proxy=attrs.evolve(settings, **proxy), auth=auth) as hub:
        yield hub


async def probe(hub: LiveHub, idle: int = 1) -> LoadBalancerReport:
    return await probe_balancer(hub.hub.ground, hub.hub.services, idle)


def steps(report: LoadBalancerReport) -> dict[str, Finding]:
    return {finding.step: finding for finding in report.findings}


def failed(report: LoadBalancerReport) -> set[str]:
    return {finding.step for finding in report.findings if finding.outcome is Outcome.FAILED}


@contextmanager
def nginx_that_ends_tls(folder: Path, ports: Ports, *, broken: bool = False) -> Iterator[None]:
    """The page's configuration; broken, it has no Upgrade headers and HTTP/1 only on the gRPC port."""
    upgrade = (
        ""
        if broken
        else 'proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade";'
    )
    grpc = (
        f"proxy_pass http://{ports.hub('auth')};"
        if broken
        else f"grpc_pass grpc://{ports.hub('auth')}; grpc_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
    )
    http = f"""
      server {{ listen {ports.front("web")} ssl;
        location / {{ proxy_pass http://{ports.hub("web")}; proxy_set_header Host $host;
          proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; {upgrade} }} }}
      server {{ listen {ports.front("auth")} ssl {"" if broken else "http2"};
        location / {{ {grpc} }} }}"""
    stream = "".join(
        f"server {{ listen {ports.front(name)} ssl; proxy_pass {ports.hub(name)}; }}\n"
        for name in ("ssh", "tunnel")
    )
    bind = f"proxy_bind {NGINX};\n"
    http, stream = f"{bind} grpc_bind {NGINX};\n{http}", f"{bind}{stream}"
    with nginx(folder, http=http, stream=stream, wait=[ports.front(name) for name in NAMES]):
        yield


async def test_nginx_ends_tls(tmp_path: Path) -> None:
    """The product page's topology: four ports, TLS ended by nginx."""
    ports = free_ports()
    header = {"trusted_ip_header": "X-Forwarded-For", "trusted_ip_header_cidrs": (ip_network(f"{NGINX}/32"),)}
    async with hub_behind(tmp_path, ports, h2c=True, tls_mode="off", **header) as hub:
        with nginx_that_ends_tls(tmp_path / "nginx", ports):
            report = await probe(hub)
    found = steps(report)
    assert failed(report) == {"ssh: client address", "tunnel: client address"}, report.findings
    for name in NAMES:
        assert found[f"{name}: TLS"].detail.startswith("ended by a load balancer: TLSv1.")
    assert found["web: client address"].detail == "the hub sees 127.0.0.1, from the trusted header"
    assert found["web: largest header"].detail.startswith("8 KiB pass, more do not: status 400")
    assert "mezite-tunnel/1" in found["tunnel: inner TLS"].detail
    assert found["auth: HTTP/2 call"].detail == "cluster test"
    assert found["auth: idle"].detail == "1 s between two calls are borne"
    assert found["ssh: client address"].remedy.startswith("let the load balancer send a PROXY header")
    assert found["web: WebSocket"].outcome is not Outcome.FAILED
    assert f"grpc_pass grpc://{ports.hub('auth')};" in report.nginx
    assert f"bind :{ports.numbers['tunnel']} ssl crt" in report.haproxy


async def test_haproxy_passes_everything_on(tmp_path: Path) -> None:
    """TCP with PROXY headers of version 2: the hub ends TLS and sees the real address."""
    ports = free_ports()
    sections = "".join(
        f"listen {name}\n  mode tcp\n  bind {ports.front(name)}\n  server hub {ports.hub(name)} send-proxy-v2\n"
        for name in NAMES
    )
    trust = {"proxy_protocol": "on", "proxy_protocol_trusted_cidrs": (ip_network("127.0.0.0/8"),)}
    async with hub_behind(tmp_path, ports, **trust) as hub:
        with haproxy(tmp_path / "haproxy", sections, wait=[ports.front(name) for name in NAMES]):
            report = await probe(hub)
    found = steps(report)
    assert failed(report) == set(), report.findings
    for name in NAMES:
        assert found[f"{name}: TLS"].detail.startswith("ended by the hub: TLSv1.3")
        assert found[f"{name}: client address"].detail.endswith("the real one")
    assert "proxy_protocol on;" in report.nginx
    assert "ssl crt" not in report.haproxy


async def test_a_broken_nginx(tmp_path: Path) -> None:
    """HTTP/1 only in front of the gRPC port, no Upgrade headers, and the client's address lost."""
    ports = free_ports()
    async with hub_behind(tmp_path, ports, h2c=True, tls_mode="off") as hub:
        with nginx_that_ends_tls(tmp_path / "nginx", ports, broken=True):
            report = await probe(hub)
    found = steps(report)
    assert {"web: client address", "web: WebSocket", "auth: TLS"} <= failed(report)
    assert "MEZITE_TRUSTED_IP_HEADER=X-Forwarded-For" in found["web: client address"].remedy
    assert "proxy_set_header Upgrade" in found["web: WebSocket"].remedy
    assert "gRPC/h2c" in found["auth: TLS"].remedy
    assert found["auth: idle"].outcome is Outcome.SKIPPED


async def test_one_port_for_everything(tmp_path: Path) -> None:
    ports = free_ports()
    sections = f"listen all\n  mode tcp\n  bind {ports.front('web')}\n  server hub {ports.hub('web')} send-proxy-v2\n"
    trust = {"proxy_protocol": "on", "proxy_protocol_trusted_cidrs": (ip_network("127.0.0.0/8"),)}
    async with hub_behind(tmp_path, ports, single_port=True, **trust) as hub:
        with haproxy(tmp_path / "haproxy", sections, wait=[ports.front("web")]):
            report = await probe(hub)
    found = steps(report)
    assert failed(report) == set(), report.findings
    for name in NAMES:
        assert found[f"{name}: client address"].detail.endswith("the real one")
    assert report.haproxy.count("listen mezite_single") == report.haproxy.count("  bind ") == 1


async def test_nothing_is_in_front(tmp_path: Path) -> None:
    """Nobody's public address: the hub names itself."""
    async with live_hub(tmp_path) as hub:
        report = await probe(hub)
    found = steps(report)
    assert failed(report) == set(), report.findings
    assert found["ssh: client address"].detail.endswith("the real one: nothing is in between")


async def test_the_balancer_is_not_there(tmp_path: Path) -> None:
    ports = free_ports()
    async with hub_behind(tmp_path, ports) as hub:
        report = await probe(hub)
    assert failed(report) == {f"{name}: TCP" for name in NAMES}


async def test_a_secret_that_is_not_expected_changes_nothing(tmp_path: Path) -> None:
    async with live_hub(tmp_path) as hub:
        probes = hub.hub.services.probes
        probes.note_protocols(["mezite-probe/stolen"], None)
        with probes.expect() as token:
            assert probes.seen(token) is None
        with pytest.raises(KeyError):
            probes.seen("stolen")
