# SPDX-License-Identifier: Apache-2.0
"""The product page's own nginx configuration and the examples: every path through each, and whom the hub sees on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.balancers import (
    BALANCER,
    CLIENT,
    ROOT,
    haproxy,
    hub_behind,
    make_ports,
    nginx,
    trust_the_hub,
)
from tests.e2e.harness import Cluster

pytestmark = pytest.mark.e2e

PAGE = ROOT / "tests/vectors/page_nginx.txt"
EXAMPLE = ROOT / "examples/nginx.conf"
MODULE = "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\nevents {}\n"

SETTINGS = {
    "auth": {"grpc_allow_http": True},
    "proxy": {
        "tls_mode": "off",
        "trusted_ip_header": "X-Forwarded-For",
        "trusted_ip_header_cidrs": [f"{BALANCER}/32"],
        "proxy_protocol": "on",
        "proxy_protocol_trusted_cidrs": [f"{BALANCER}/32"],
    },
}
"""As the page has it: without a PROXY header from the trusted balancer, the hub sees the balancer's own address."""


def lines(path: Path) -> list[str]:
    return [line.strip() for line in path.read_text().splitlines() if line.strip()]


def test_the_example_holds_the_pages_configuration_line_by_line() -> None:
    example = iter(lines(EXAMPLE))
    assert [line for line in lines(PAGE) if line not in example] == []


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    return make_ports()


@pytest.fixture(scope="module")
def terminated(tmp_path_factory: pytest.TempPathFactory, ports: dict[str, int]) -> Iterator[Cluster]:
    with hub_behind(tmp_path_factory.mktemp("terminated"), ports, **SETTINGS) as running:
        yield running


def test_a_hub_without_tls_says_at_start_what_that_means(terminated: Cluster) -> None:
    """Threat F3."""
    warnings = [json.loads(line) for line in terminated.hub.lines if '"level": "warning"' in line]
    notes = [warning.get("note", "") for warning in warnings]
    for key in ("auth.grpc_allow_http", "proxy.tls_mode"):
        (note,) = [note for note in notes if note.startswith(key)]
        assert "reads passwords and session tokens" in note


HTTP_PATHS = {"web": CLIENT, "grpc": CLIENT, "join": CLIENT}


def test_the_pages_own_configuration(terminated: Cluster, ports: dict[str, int]) -> None:
    """Headers tell the client of HTTP; raw connections come from the balancer, since it is not asked to say more."""
    text = PAGE.read_text().replace("# SSH proxy", "}\n# SSH proxy", 1)
    with nginx(terminated, ports, f"{MODULE}http {{\n{text}", "page") as site:
        assert site.use_every_path("page", MEZITE_TLS_WRAP="true") == {
            **HTTP_PATHS, "tunnel": BALANCER, "msh": BALANCER, "ssh": BALANCER,
        }  # fmt: skip
        # D13: nginx hands `Upgrade` on to the hub, which goes on in HTTP/1.1.
        upgrade = ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__")
        fields = [argument for field in upgrade for argument in ("-H", field)]
        assert site.curl("/v1/webapi/ping", "--http1.1", *fields)["cluster_name"] == "mezite"
        # An agent where only HTTPS passes: its tunnel is a WebSocket, and the header names it too.
        site.start_agent("node-websocket", MEZITE_PROXY_ADDR=f"https://{site.front('web')}")
        assert site.tunnel_client("node-websocket") == CLIENT


def test_the_example_with_the_proxy_protocol(terminated: Cluster, ports: dict[str, int]) -> None:
    text = EXAMPLE.read_text().replace("# proxy_protocol on;", "proxy_protocol on;")
    with nginx(terminated, ports, text, "example") as site:
        assert site.use_every_path("example", MEZITE_TLS_WRAP="true") == {
            **HTTP_PATHS, "tunnel": CLIENT, "msh": CLIENT, "ssh": CLIENT,
        }  # fmt: skip


ALL_PATHS = {**HTTP_PATHS, "tunnel": CLIENT, "msh": CLIENT, "ssh": CLIENT}


def test_haproxy_that_ends_tls(terminated: Cluster, ports: dict[str, int]) -> None:
    text = (ROOT / "examples/haproxy-terminating.cfg").read_text()
    with haproxy(terminated, ports, text, "terminating") as site:
        assert site.use_every_path("terminating", MEZITE_TLS_WRAP="true") == ALL_PATHS


def test_haproxy_that_passes_tls_through(tmp_path: Path) -> None:
    """The hub ends TLS itself; agents need no setting, and clients trust the cluster's own CA."""
    settings = {"proxy_protocol": "on", "proxy_protocol_trusted_cidrs": [f"{BALANCER}/32"]}
    ports = make_ports()
    text = (ROOT / "examples/haproxy.cfg").read_text()
    with hub_behind(tmp_path, ports, proxy=settings) as cluster:
        trust_the_hub(cluster)
        with haproxy(cluster, ports, text, "passthrough") as site:
            assert site.use_every_path("passthrough") == ALL_PATHS
