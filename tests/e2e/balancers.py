# SPDX-License-Identifier: Apache-2.0
"""A hub behind real balancers that run the configurations of examples/, with names, ports and paths of this machine."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import trio
import trio_websocket

from mezite.cli.program_path import program_command
from mezite.testing.self_signed import self_signed_pem
from tests.e2e.harness import (
    ME,
    PASSWORD,
    S_CLIENT,
    Cluster,
    Daemon,
    clean_environment,
    program,
    start_with_administrator,
)

ROOT = Path(__file__).parent.parent.parent

HUB, BALANCER, CLIENT = "127.0.0.66", "127.0.0.67", "127.0.0.1"
"""Where the hub listens, where the balancer dials it from, and where all clients come from."""

STANDARD = {"web": 3080, "ssh": 3023, "tunnel": 3024, "auth": 3025}

OWN_PATHS = "".join(
    f"{kind}_temp_path {{folder}}/{kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
)


def wait_for_listener(address: str, seconds: float = 15) -> None:
    """A process of somebody else's says nothing when it is ready: try until it answers."""
    host, port = address.split(":")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except ConnectionRefusedError:
            threading.Event().wait(0.05)
        else:
            return
    raise AssertionError(f"nothing listens on {address}")


def make_ports() -> dict[str, int]:
    """As on a real site, where hub and balancer use the same numbers on different machines."""
    with contextlib.ExitStack() as held:
        sockets = {name: held.enter_context(socket.create_server((CLIENT, 0))) for name in STANDARD}
        return {name: int(listener.getsockname()[1]) for name, listener in sockets.items()}


@attrs.frozen(kw_only=True)
class Site:
    """A hub, the balancer in front of it, and what clients are told."""

    cluster: Cluster
    ports: dict[str, int]
    balancer: Daemon

    def front(self, name: str) -> str:
        """Where clients dial."""
        return f"localhost:{self.ports[name]}"

    @property
    def ca_file(self) -> str:
        return str(self.cluster.folder / "balancer.pem")

    def curl(self, path: str, *options: str) -> dict[str, object]:
        url = f"https://{self.front('web')}{path}"
        command = ["curl", "-s", "--max-time", "20", "--cacert", self.ca_file, *options, url]
        return json.loads(subprocess.run(command, capture_output=True, check=True, text=True).stdout)

    def mezctl(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        where = ["--auth-server", self.front("auth"), "--ca-file", self.ca_file]
        return self.cluster.run(program("mezctl", *where, *arguments), check=False, stdin=stdin)

    def msh(self, home: str, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return self.cluster.run(
            [*program_command("msh"), *arguments],
            stdin=stdin,
            environment={"MSH_HOME": str(self.cluster.folder / home)},
        )

    def msh_login(self, home: str, *options: str) -> None:
        login = ["login", "--proxy", self.front("web"), "--ca-file", self.ca_file, "--user", "admin"]
        self.msh(home, *login, "--password-stdin", *options, stdin=PASSWORD)

    def start_agent(self, name: str, **environment: str) -> Daemon:
        settings = {
            "MEZITE_PROXY_ADDR": self.front("tunnel"),
            "MEZITE_AUTH_ADDR": self.front("auth"),
            "MEZITE_OUTER_CA_FILE": self.ca_file,
        }
        return self.cluster.start_agent(name, **settings | environment)

    async def echo(self, text: str, token: str) -> bytes:
        """Say something on a WebSocket and return the answer."""
        context = ssl.create_default_context(cafile=self.ca_file)
        url = f"wss://{self.front('web')}/v1/webapi/echo"
        with trio.fail_after(20):
            opened = trio_websocket.open_websocket_url(
                url, ssl_context=context, extra_headers=[("Authorization", f"Bearer {token}")]
            )
            async with opened as websocket:
                await websocket.send_message(text.encode())
                return bytes(await websocket.get_message())

    def tunnel_client(self, node: str) -> str:
        """From where the hub has got the node's tunnel."""
        assert self.cluster.hub is not None
        up = self.cluster.hub.wait_for(lambda line: '"tunnel up"' in line and f'"{node}"' in line)
        return str(json.loads(up)["client"]).rpartition(":")[0]

    def complaints(self) -> list[str]:
        """What hub and balancer have logged as warnings and errors, after the hub's notes on its configuration."""
        assert self.cluster.hub is not None
        loud = (
            '"level": "error"',
            '"level": "warning"',
            "[error]",
            "[crit]",
            "[alert]",
            "[emerg]",
            "[ALERT]",
        )
        lines = [line for line in self.cluster.hub.lines if '"event": "configuration"' not in line]
        return [line for line in (*lines, *self.balancer.lines) if any(mark in line for mark in loud)]

    def stock_ssh(self, home: str, node: str) -> list[str]:
        """OpenSSH to the node over the hub's SSH port, inside TLS made by openssl, with the files of `msh login`."""
        files = self.cluster.folder / home / "localhost"
        tls = f"{S_CLIENT} -CAfile {self.ca_file}"
        config = self.cluster.folder / f"{home}.ssh_config"
        config.write_text(
            f"Host hub\n  User admin\n  HostKeyAlias {HUB}\n"
            f"  ProxyCommand {tls} -servername localhost -connect {self.front('ssh')}\n"
            f"Host node\n  User {ME}\n  HostName {node}\n  ProxyJump hub\n"
            f"Host *\n  IdentityFile {files}/admin/key\n  CertificateFile {files}/admin/key-cert.pub\n"
            f"  IdentitiesOnly yes\n  UserKnownHostsFile {files}/known_hosts\n  GlobalKnownHostsFile none\n"
            "  StrictHostKeyChecking yes\n"
        )
        return ["ssh", "-F", str(config), "node"]

    def use_every_path(self, name: str, **agent: str) -> dict[str, object]:
        """Log in over web and gRPC, join an agent, reach it with msh and with stock ssh; whom the audit log names."""
        assert self.curl("/v1/webapi/ping")["cluster_name"] == "mezite"
        login = json.dumps({"username": f"web-{name}", "password": "wrong"})
        self.curl("/v1/webapi/login", "-H", "content-type: application/json", "-d", login)
        refused = self.mezctl("login", f"--username=grpc-{name}", "--password-stdin", stdin="wrong")
        assert "wrong user name or password" in refused.stderr
        token = self.mezctl("login", "--username=admin", "--password-stdin", stdin=PASSWORD)
        assert len(token.stdout.strip()) == 64, token.stderr
        assert trio.run(self.echo, "there and back", token.stdout.strip()) == b"there and back"

        node, home = f"node-{name}", f"msh-{name}"
        self.start_agent(node, **agent)
        self.msh_login(home)
        msh = [*program_command("msh"), "ssh", f"{ME}@{node}", "echo made it"]
        for command in (msh, [*self.stock_ssh(home, node), "echo made it"]):
            result = self.cluster.run(command, environment={"MSH_HOME": str(self.cluster.folder / home)})
            assert result.stdout == "made it\n", (command, result)
        assert self.complaints() == []
        return self._seen(name, node)

    def _seen(self, name: str, node: str) -> dict[str, object]:
        events = self.cluster.audit()

        def client(event_type: str, field: str, value: str) -> list[object]:
            """Newest first."""
            return [
                event["client_ip"]
                for event in events
                if (event["event_type"], event[field]) == (event_type, value)
            ]

        ssh, msh = client("session.start", "server_hostname", node)
        return {
            "web": client("user.login.failed", "user_name", f"web-{name}")[0],
            "grpc": client("user.login.failed", "user_name", f"grpc-{name}")[0],
            "join": client("node.joined", "resource_name", node)[0],
            "tunnel": self.tunnel_client(node),
            "msh": msh,
            "ssh": ssh,
        }


@contextmanager
def hub_behind(folder: Path, ports: dict[str, int], **settings: object) -> Iterator[Cluster]:
    """A hub whose public address is the balancer's."""
    proxy = {"public_addr": f"localhost:{ports['web']}", **settings.pop("proxy", {})}  # type: ignore[dict-item]
    addresses = {name: f"{HUB}:{port}" for name, port in ports.items()}
    cluster = Cluster(folder, settings={"proxy": proxy, **settings}, addresses=addresses)
    certificate, key = self_signed_pem()
    (folder / "balancer.pem").write_bytes(certificate)
    (folder / "balancer.key").touch(mode=0o600)
    (folder / "balancer.key").write_bytes(key)
    (folder / "balancer-both.pem").write_bytes(certificate + key)
    try:
        start_with_administrator(cluster)
        yield cluster
    finally:
        cluster.stop()


def trust_the_hub(cluster: Cluster) -> None:
    """No balancer ends TLS: what clients see is the hub's own certificate."""
    url = f"https://{cluster.addresses['web']}/v1/webapi/ca"
    answer = subprocess.run(
        ["curl", "-sk", "--max-time", "20", url], capture_output=True, check=True, text=True
    )
    (cluster.folder / "balancer.pem").write_text("".join(json.loads(answer.stdout)["host_tls_ca_pem"]))


def for_this_machine(text: str, folder: Path, ports: dict[str, int]) -> str:
    """The same configuration with the names, ports and certificate paths of a test."""
    by_number = {str(number): ports[name] for name, number in STANDARD.items()} | {"443": ports["web"]}
    text = re.sub(r"\bmezhub:(\d+)", lambda found: f"{HUB}:{by_number[found[1]]}", text)
    text = re.sub(r"\blisten (\d+)", lambda found: f"listen {CLIENT}:{by_number[found[1]]}", text)
    text = re.sub(r"\bbind \*?:(\d+)", lambda found: f"bind {CLIENT}:{by_number[found[1]]}", text)
    text = text.replace("mezite.example.com", "localhost")
    for path, name in (
        ("/etc/ssl/mezite.crt", "balancer.pem"),
        ("/etc/ssl/mezite.key", "balancer.key"),
        ("/etc/haproxy/mezite.pem", "balancer-both.pem"),
    ):
        text = text.replace(path, str(folder / name))
    return text


@contextmanager
def nginx(cluster: Cluster, ports: dict[str, int], text: str, name: str) -> Iterator[Site]:
    """nginx with that configuration, and with an address of its own on this machine."""
    folder = cluster.folder / name
    folder.mkdir()
    text = for_this_machine(text, cluster.folder, ports)
    own_paths = OWN_PATHS.format(folder=folder)
    text = text.replace(
        "http {", f"http {{ proxy_bind {BALANCER}; grpc_bind {BALANCER}; {own_paths} access_log off;", 1
    )
    text = text.replace("stream {", f"stream {{ proxy_bind {BALANCER};", 1)
    config = folder / "nginx.conf"
    config.write_text(f"daemon off; master_process off; pid {folder}/pid; error_log stderr warn;\n{text}")
    daemon = Daemon(["nginx", "-p", str(folder), "-c", str(config)], clean_environment(), folder / "log")
    try:
        for port in ports.values():
            wait_for_listener(f"{CLIENT}:{port}")
        yield Site(cluster=cluster, ports=ports, balancer=daemon)
    finally:
        daemon.stop()


@contextmanager
def haproxy(cluster: Cluster, ports: dict[str, int], text: str, name: str) -> Iterator[Site]:
    """HAProxy with that configuration, and with an address of its own on this machine."""
    config = cluster.folder / f"{name}.cfg"
    text = for_this_machine(text, cluster.folder, ports)
    config.write_text(
        re.sub(rf"^(\s*server \S+ {HUB}:\d+)", rf"\1 source {BALANCER}", text, flags=re.MULTILINE)
    )
    daemon = Daemon(["haproxy", "-db", "-f", str(config)], clean_environment(), config.with_suffix(".log"))
    try:
        for port in ports.values():
            wait_for_listener(f"{CLIENT}:{port}")
        yield Site(cluster=cluster, ports=ports, balancer=daemon)
    finally:
        daemon.stop()
