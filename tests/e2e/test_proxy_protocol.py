# SPDX-License-Identifier: Apache-2.0
"""Real HAProxy and real nginx in front of all four ports, with the client's address in the audit log."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mezite.cli.program_path import program_command
from mezite.testing.ports import free_port
from tests.e2e.balancers import wait_for_listener
from tests.e2e.harness import ME, Cluster, Daemon, clean_environment, running_cluster

pytestmark = pytest.mark.e2e

CLIENT = "127.0.0.77"
"""Where clients dial from; the balancer itself dials the hub from 127.0.0.1."""

PORTS = ("web", "ssh", "tunnel", "auth")


@contextmanager
def haproxy(cluster: Cluster, send: str) -> Iterator[dict[str, str]]:
    """HAProxy in TCP mode with health checks; the addresses it listens on, by listener."""
    addresses = {name: f"127.0.0.1:{free_port()}" for name in PORTS}
    sections = [
        "global\n  log stderr format raw local0 info\ndefaults\n  mode tcp\n  log global\n  timeout connect 5s\n"
        "  timeout client 1m\n  timeout server 1m\n"
    ]
    for name, address in addresses.items():
        sections.append(
            f"listen {name}\n  bind {address}\n  server hub {cluster.addresses[name]} {send} check inter 200ms\n"
        )
    config = cluster.folder / f"haproxy-{send.replace(' ', '-')}.cfg"
    config.write_text("".join(sections))
    daemon = Daemon(["haproxy", "-db", "-f", str(config)], clean_environment(), config.with_suffix(".log"))
    try:
        for address in addresses.values():
            wait_for_listener(address)
        yield addresses
    finally:
        daemon.stop()


@contextmanager
def nginx(cluster: Cluster) -> Iterator[dict[str, str]]:
    """nginx stream with version 1 headers."""
    addresses = {name: f"127.0.0.1:{free_port()}" for name in PORTS}
    servers = "".join(
        f"  server {{ listen {address}; proxy_pass {cluster.addresses[name]}; proxy_protocol on; }}\n"
        for name, address in addresses.items()
    )
    folder = cluster.folder / "nginx"
    folder.mkdir()
    config = folder / "nginx.conf"
    config.write_text(
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n"
        f"daemon off; master_process off; pid {folder}/pid; error_log stderr warn;\n"
        f"events {{}}\nstream {{\n{servers}}}\n"
    )
    daemon = Daemon(["nginx", "-p", str(folder), "-c", str(config)], clean_environment(), folder / "log")
    try:
        for address in addresses.values():
            wait_for_listener(address)
        yield addresses
    finally:
        daemon.stop()


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    settings = {"proxy_protocol": "on", "proxy_protocol_trusted_cidrs": ["127.0.0.1/32"]}
    with running_cluster(tmp_path_factory.mktemp("proxied"), proxy=settings) as running:
        yield running


def curl(address: str, path: str, *, source: str = CLIENT) -> dict[str, object]:
    command = ["curl", "-sk", "--max-time", "20", "--interface", source, f"https://{address}{path}"]
    return json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)


def failed_login(address: str, name: str) -> None:
    body = json.dumps({"username": name, "password": "wrong"})
    command = [
        "curl",
        "-sk",
        "--max-time",
        "20",
        "--interface",
        CLIENT,
        "-H",
        "content-type: application/json",
    ]
    subprocess.run(
        [*command, "-d", body, f"https://{address}/v1/webapi/login"], capture_output=True, check=True
    )


def through(cluster: Cluster, addresses: dict[str, str], name: str) -> None:
    """Use each of the four ports through the balancer and look at whom the hub saw."""
    failed_login(addresses["web"], f"web-{name}")
    event = cluster.audit("--type=user.login.failed", f"--user=web-{name}")[0]
    assert event["client_ip"] == CLIENT

    direct = cluster.addresses
    cluster.addresses = {**direct, "auth": addresses["auth"], "tunnel": addresses["tunnel"]}
    try:
        cluster.mezctl("login", f"--username=grpc-{name}", "--password-stdin", check=False, stdin="wrong")
        assert cluster.audit("--type=user.login.failed", f"--user=grpc-{name}")[0]["client_ip"] == "127.0.0.1"
        cluster.start_agent(f"node-{name}")
    finally:
        cluster.addresses = direct
    home = cluster.folder / f"msh-{name}"
    cluster.login("admin", home=home.name)
    current = json.loads((home / "current").read_text())
    (home / "current").write_text(json.dumps({**current, "ssh_addr": addresses["ssh"]}))
    result = subprocess.run(
        [*program_command("msh"), "ssh", f"{ME}@node-{name}", "echo $SSH_CLIENT"],
        env=clean_environment({"MSH_HOME": str(home)}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split()[0] == "127.0.0.1"


@pytest.mark.parametrize("send", ["send-proxy", "send-proxy-v2-ssl-cn"])
def test_haproxy(cluster: Cluster, send: str) -> None:
    with haproxy(cluster, send) as addresses:
        through(cluster, addresses, send)


def test_nginx_stream(cluster: Cluster) -> None:
    with nginx(cluster) as addresses:
        through(cluster, addresses, "nginx")


def test_a_trusted_peer_needs_no_header(cluster: Cluster) -> None:
    """What `cluster` itself does all the time: 127.0.0.1 is trusted and speaks plainly."""
    assert curl(cluster.addresses["web"], "/v1/webapi/ping", source="127.0.0.1")["cluster_name"] == "mezite"


CHECKS = {
    "tcp": "",
    "tcp-with-header": "check-send-proxy",
    "ssl": "check-ssl verify none",
    "ssl-with-header": "check-ssl verify none check-send-proxy",
    "httpchk": "|option httpchk GET /v1/webapi/ping",
    "httpchk-ssl": "check-ssl verify none|option httpchk GET /v1/webapi/ping",
    "httpchk-default": "|option httpchk",
    "hello": "|option ssl-hello-chk",
    "banner": "|option tcp-check\n  tcp-check expect string SSH-2.0-",
    "smtp": "|option smtpchk",
    "redis": "|option redis-check",
    "ldap": "|option ldap-check",
    "agent": "agent-check agent-inter 200ms agent-addr 127.0.0.1 agent-port {port}",
}
"""What HAProxy can ask a server, with a header in front or not: options of the server line, then of the section."""


def probing(cluster: Cluster) -> str:
    sections = [
        "global\n  log stderr format raw local0 info\n"
        "defaults\n  mode tcp\n  log global\n  option log-health-checks\n"
        "  timeout connect 2s\n  timeout check 2s\n  timeout client 1m\n  timeout server 1m\n"
        f"listen nobody\n  bind 127.0.0.1:{free_port()}\n"
    ]
    for name in PORTS:
        address = cluster.addresses[name]
        for kind, options in CHECKS.items():
            on_server, _, in_section = options.format(port=address.rpartition(":")[2]).partition("|")
            server = f"server hub {address} send-proxy-v2 check inter 200ms {on_server}"
            sections.append(f"backend {name}-{kind}\n  {in_section}\n  {server}\n")
    return "".join(sections)


def test_health_checks_leave_no_trace(cluster: Cluster) -> None:
    """Checks of every kind at every port, most of them at the wrong one: at most a line of information each."""
    assert cluster.hub is not None
    before, lines = len(cluster.audit()), len(cluster.hub.lines)
    config = cluster.folder / "probes.cfg"
    config.write_text(probing(cluster))
    daemon = Daemon(["haproxy", "-db", "-f", str(config)], clean_environment(), config.with_suffix(".log"))
    try:
        for name in PORTS:
            for kind in CHECKS:
                daemon.wait_for(lambda line, server=f"{name}-{kind}/hub": server in line)
        for useful in USEFUL:
            assert any(f"{useful}/hub" in line and "succeeded" in line for line in daemon.lines), useful
    finally:
        daemon.stop()
    noise = [
        line
        for line in cluster.hub.lines[lines:]
        if '"level": "error"' in line or '"level": "warning"' in line
    ]
    assert noise == []
    assert len(cluster.audit()) == before


USEFUL = (
    "web-tcp", "web-ssl", "web-httpchk-ssl", "web-hello", "ssh-tcp", "ssh-banner", "tunnel-tcp", "tunnel-ssl",
    "auth-tcp", "auth-ssl", "auth-ssl-with-header", "auth-hello",
)  # fmt: skip
"""Those that belong where they ask: they find the hub up."""


@pytest.mark.parametrize(
    "header", [b"PROXY TCP4 9.9.9.9 1.1.1.1 1 2\r\n", b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"]
)
def test_a_stranger_who_sends_a_header_is_closed_and_audited(cluster: Cluster, header: bytes) -> None:
    """Threat C1."""
    for name in PORTS:
        host, port = cluster.addresses[name].split(":")
        with socket.create_connection(
            (host, int(port)), timeout=10, source_address=("127.0.0.2", 0)
        ) as stranger:
            stranger.sendall(header + b"GET / HTTP/1.1\r\n\r\n")
            stranger.settimeout(10)
            with contextlib.suppress(ConnectionResetError):
                assert stranger.recv(100) == b""
        event = cluster.audit("--type=access.denied", "--limit=1")[0]
        assert (event["client_ip"], event["resource_name"]) == ("127.0.0.2", name)
        assert "proxy_protocol_trusted_cidrs" in str(event["error_message"])


def test_a_stranger_without_a_header_is_served(cluster: Cluster) -> None:
    assert curl(cluster.addresses["web"], "/v1/webapi/ping", source="127.0.0.2")["cluster_name"] == "mezite"


def test_require_turns_away_who_sends_none(tmp_path: Path) -> None:
    settings = {"proxy_protocol": "require", "proxy_protocol_trusted_cidrs": ["127.0.0.1/32"]}
    cluster = Cluster(tmp_path, settings={"proxy": settings})
    try:
        cluster.start_hub()
        with haproxy(cluster, "send-proxy-v2") as addresses:
            assert curl(addresses["web"], "/v1/webapi/ping")["cluster_name"] == "mezite"
        command = ["curl", "-sk", "--max-time", "20", f"https://{cluster.addresses['web']}/v1/webapi/ping"]
        assert subprocess.run(command, capture_output=True, check=False).returncode != 0
    finally:
        cluster.stop()
