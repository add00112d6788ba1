# SPDX-License-Identifier: Apache-2.0
"""The product page's own nginx configuration, and the example made from it: every path, and whom the hub sees on it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from mezite.cli.program_path import program_command
from tests.e2e.balancers import BALANCER, CLIENT, ROOT, Site, hub_behind, make_ports, nginx
from tests.e2e.harness import ME, PASSWORD, Cluster

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
def cluster(tmp_path_factory: pytest.TempPathFactory, ports: dict[str, int]) -> Iterator[Cluster]:
    with hub_behind(tmp_path_factory.mktemp("nginx"), ports, **SETTINGS) as running:
        yield running


def use_every_path(site: Site, name: str) -> dict[str, object]:
    """Log in over the web and gRPC, join an agent, reach it with msh and with stock ssh; whom the audit log names."""
    seen: dict[str, object] = {}
    assert site.curl("/v1/webapi/ping")["cluster_name"] == "mezite"
    login = json.dumps({"username": f"web-{name}", "password": "wrong"})
    site.curl("/v1/webapi/login", "-H", "content-type: application/json", "-d", login)
    seen["web"] = site.audited("user.login.failed", f"web-{name}")["client_ip"]

    site.mezctl("login", f"--username=grpc-{name}", "--password-stdin", stdin="wrong")
    seen["grpc"] = site.audited("user.login.failed", f"grpc-{name}")["client_ip"]
    token = site.mezctl("login", "--username=admin", "--password-stdin", stdin=PASSWORD)
    assert len(token.stdout.strip()) == 64, token.stderr

    node = f"node-{name}"
    site.start_agent(node, MEZITE_TLS_WRAP="true")
    joined = [event for event in site.cluster.audit("--type=node.joined") if event["resource_name"] == node]
    seen["join"] = joined[0]["client_ip"]
    assert site.cluster.hub is not None
    up = site.cluster.hub.wait_for(lambda line: '"tunnel up"' in line and f'"{node}"' in line)
    seen["tunnel"] = str(json.loads(up)["client"]).rpartition(":")[0]

    home = f"msh-{name}"
    site.msh_login(home)
    assert site.audited("user.login", "admin")["client_ip"] == seen["web"]
    msh = [*program_command("msh"), "ssh", f"{ME}@{node}", "echo made it"]
    seen["msh"] = site.client_of_session(msh, {"MSH_HOME": str(site.cluster.folder / home)})
    stock = site.stock_ssh(f"stock-{name}", node)
    seen["ssh"] = site.client_of_session([*stock, "echo made it"])
    assert site.complaints() == []
    return seen


HTTP_PATHS = {"web": CLIENT, "grpc": CLIENT, "join": CLIENT}


def test_the_pages_own_configuration(cluster: Cluster, ports: dict[str, int]) -> None:
    """Headers tell the client of HTTP; raw connections come from the balancer, since it is not asked to say more."""
    text = PAGE.read_text().replace("# SSH proxy", "}\n# SSH proxy", 1)
    with nginx(cluster, ports, f"{MODULE}http {{\n{text}", "page") as site:
        assert use_every_path(site, "page") == {
            **HTTP_PATHS, "tunnel": BALANCER, "msh": BALANCER, "ssh": BALANCER,
        }  # fmt: skip


def test_the_example_with_the_proxy_protocol(cluster: Cluster, ports: dict[str, int]) -> None:
    text = EXAMPLE.read_text().replace("# proxy_protocol on;", "proxy_protocol on;")
    with nginx(cluster, ports, text, "example") as site:
        assert use_every_path(site, "example") == {
            **HTTP_PATHS, "tunnel": CLIENT, "msh": CLIENT, "ssh": CLIENT,
        }  # fmt: skip
