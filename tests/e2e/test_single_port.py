# SPDX-License-Identifier: Apache-2.0
"""One port for everything, with real clients: curl, ssh, mezctl, mezd and msh.

Straight, and through balancers that pass TCP on with a PROXY header. The certificate is the operator's own
(`proxy.tls_mode: file`).
"""

from __future__ import annotations

import json
import signal
import ssl
import subprocess
from collections.abc import Iterator
from functools import partial

import pytest

from mezite.cli.program_path import program_command
from mezite.testing.ports import free_port
from tests.e2e.balancers import (
    BALANCER,
    CLIENT,
    HUB,
    ROOT,
    STANDARD,
    Site,
    haproxy,
    hub_behind,
    nginx,
)
from tests.e2e.harness import ME, PASSWORD, Cluster, program
from tests.hub.keypairs import certificate, ecdsa_key, key_pem

pytestmark = pytest.mark.e2e

HAPROXY = (ROOT / "examples/haproxy-single-port.cfg").read_text()
NGINX = """
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
events {}
stream {
server { listen 443; proxy_pass mezhub:3080; proxy_protocol on; }
}
"""


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    return dict.fromkeys(STANDARD, free_port())


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, ports: dict[str, int]) -> Iterator[Cluster]:
    folder = tmp_path_factory.mktemp("single")
    settings = {
        "single_port": True,
        "tls_mode": "file",
        "keypair": {
            "cert_file": str(folder / "balancer.pem"),
            "key_file": str(folder / "balancer.key"),
        },
        "proxy_protocol": "on",
        "proxy_protocol_trusted_cidrs": [f"{BALANCER}/32"],
    }
    with hub_behind(folder, ports, proxy=settings) as running:
        yield running


def mezctl(site: Site, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """gRPC shows the cluster's own certificate, whatever browsers see."""
    where = ["--auth-server", site.front("auth"), "--ca-pin", site.cluster.pin]
    return site.cluster.run(program("mezctl", *where, *arguments), check=False, stdin=stdin)


def raw_ssh(site: Site, home: str, node: str) -> list[str]:
    """OpenSSH without any TLS, on the same port, by the files of `msh login`."""
    files = site.cluster.folder / home / "localhost"
    config = site.cluster.folder / f"{home}-raw.ssh_config"
    config.write_text(
        f"Host hub\n  User admin\n  HostName localhost\n  Port {site.ports['ssh']}\n  HostKeyAlias {HUB}\n"
        f"Host node\n  User {ME}\n  HostName {node}\n  ProxyJump hub\n"
        f"Host *\n  IdentityFile {files}/admin/key\n  CertificateFile {files}/admin/key-cert.pub\n"
        f"  IdentitiesOnly yes\n  UserKnownHostsFile {files}/known_hosts\n  GlobalKnownHostsFile none\n"
        "  StrictHostKeyChecking yes\n"
    )
    return ["ssh", "-F", str(config), "node"]


def client_of(site: Site, event_type: str, user: str) -> object:
    """Whom the newest event of that type about that user names."""
    return site.cluster.audit(f"--type={event_type}", f"--user={user}")[0]["client_ip"]


def clients_of_sessions(site: Site, home: str, *commands: list[str]) -> list[object]:
    """Run commands over SSH; whom the audit log names as their clients."""
    before = len(site.cluster.audit("--type=session.start"))
    for command in commands:
        environment = {"MSH_HOME": str(site.cluster.folder / home)}
        result = site.cluster.run([*command, "echo made it"], environment=environment)
        assert result.stdout == "made it\n", result.stderr
    events = site.cluster.audit("--type=session.start")
    assert len(events) == before + len(commands)
    return [event["client_ip"] for event in events[: len(commands)]]


def test_straight(cluster: Cluster, ports: dict[str, int]) -> None:
    """curl with HTTP/1.1, with HTTP/2 on offer, and in the clear, which is told where to go."""
    port = ports["web"]
    base = ["curl", "-s", "--max-time", "20", "--cacert", str(cluster.folder / "balancer.pem")]
    base += ["--resolve", f"localhost:{port}:{HUB}"]
    for options in (["--http1.1"], ["--http2"], ["--no-alpn"]):
        url = f"https://localhost:{port}/v1/webapi/ping"
        answer = json.loads(subprocess.run([*base, *options, url], capture_output=True, check=True).stdout)
        everywhere = {answer["addresses"][name] for name in ("web", "ssh", "tunnel", "auth")}
        assert everywhere == {f"localhost:{port}"}
    clear = subprocess.run([*base, f"http://localhost:{port}/"], capture_output=True, check=True, text=True)
    assert f"https://localhost:{port}" in clear.stdout
    assert len(set(cluster.addresses.values())) == 2, "diagnostics have a port of their own"


def test_haproxy_passes_everything_on(cluster: Cluster, ports: dict[str, int]) -> None:
    with haproxy(cluster, ports, HAPROXY, "haproxy") as site:
        assert site.curl("/v1/webapi/ping")["cluster_name"] == "mezite"
        mezctl(site, "login", "--username=grpc-haproxy", "--password-stdin", stdin="wrong")
        assert client_of(site, "user.login.failed", "grpc-haproxy") == CLIENT
        token = mezctl(site, "login", "--username=admin", "--password-stdin", stdin=PASSWORD)
        assert len(token.stdout.strip()) == 64, token.stderr

        site.start_agent("plain")
        site.start_agent("wrapped", MEZITE_TLS_WRAP="true")
        assert [site.tunnel_client(node) for node in ("plain", "wrapped")] == [CLIENT, CLIENT]

        site.msh_login("msh")
        assert client_of(site, "user.login", "admin") == CLIENT
        msh = [*program_command("msh"), "ssh", f"{ME}@wrapped"]
        ways = msh, site.stock_ssh("msh", "plain"), raw_ssh(site, "msh", "wrapped")
        assert clients_of_sessions(site, "msh", *ways) == [CLIENT] * 3
        assert site.complaints() == []


def test_nginx_passes_everything_on(cluster: Cluster, ports: dict[str, int]) -> None:
    with nginx(cluster, ports, NGINX, "nginx") as site:
        login = json.dumps({"username": "web-nginx", "password": "wrong"})
        site.curl("/v1/webapi/login", "-H", "content-type: application/json", "-d", login)
        assert client_of(site, "user.login.failed", "web-nginx") == CLIENT
        mezctl(site, "login", "--username=grpc-nginx", "--password-stdin", stdin="wrong")
        assert client_of(site, "user.login.failed", "grpc-nginx") == CLIENT
        site.start_agent("behind-nginx")
        assert site.tunnel_client("behind-nginx") == CLIENT
        assert site.complaints() == []


def says(words: str, line: str) -> bool:
    return words in line


def shown(port: int) -> str:
    """The certificate that browsers see, in PEM."""
    return ssl.get_server_certificate((HUB, port))


def test_a_new_certificate_at_sighup(cluster: Cluster, ports: dict[str, int]) -> None:
    """Also one that cannot be used, which changes nothing."""
    assert cluster.hub is not None
    cert_file, key_file = cluster.folder / "balancer.pem", cluster.folder / "balancer.key"
    before, key = shown(ports["web"]), ecdsa_key()
    for files, said, changed in (
        ((key_file,), "certificates not reloaded, the old ones hold", False),
        ((cert_file, key_file), "reloaded logging and certificates", True),
    ):
        for file in files:
            file.write_bytes(certificate(key, "localhost") if file == cert_file else key_pem(key))
        seen = len(cluster.hub.lines)
        cluster.hub.process.send_signal(signal.SIGHUP)
        cluster.hub.wait_for(partial(says, said), after=seen)
        assert (shown(ports["web"]) != before) is changed
