# SPDX-License-Identifier: Apache-2.0
"""Agents and msh through what stands in the way: nginx and HAProxy that end TLS, an HTTP proxy, HTTP and nothing else.

One hub without TLS of its own on the web port, behind one nginx with the product page's settings, one HAProxy and one
tinyproxy.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from mezite.cli.program_path import program_command
from mezite.testing.ports import free_port
from mezite.testing.self_signed import self_signed_pem
from tests.e2e.balancers import wait_for_listener
from tests.e2e.harness import ME, PASSWORD, Cluster, Daemon, clean_environment, running_cluster

pytestmark = pytest.mark.e2e

HUB = "127.0.0.8"
"""Where the hub listens: programs take 127.0.0.1 for themselves and go there without a proxy."""

BALANCER = "127.0.0.99"
"""Where the balancers dial the hub from. The hub believes them, and their clients are at 127.0.0.1."""

NGINX = """
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off; master_process off; pid {folder}/pid; error_log stderr warn;
events {{}}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  server {{
    listen {web} ssl;
    server_name localhost;
    ssl_certificate {pem}; ssl_certificate_key {pem};
    location / {{
      proxy_pass http://{hub_web}; proxy_bind {balancer};
      proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection "upgrade";
    }}
  }}
  server {{
    listen {auth} ssl http2;
    server_name localhost;
    ssl_certificate {pem}; ssl_certificate_key {pem};
    location / {{
      grpc_pass grpc://{hub_auth};
      grpc_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    }}
  }}
}}
stream {{
  ssl_certificate {pem}; ssl_certificate_key {pem};
  proxy_protocol on; proxy_bind {balancer};
  server {{ listen {ssh} ssl; proxy_pass {hub_ssh}; }}
  server {{ listen {tunnel} ssl; proxy_pass {hub_tunnel}; }}
}}
"""

HAPROXY = """
global
  log stderr format raw local0 info
defaults
  mode tcp
  timeout connect 5s
  timeout client 1m
  timeout server 1m
listen tunnel
  bind {tunnel} ssl crt {pem}
  server hub {hub_tunnel} send-proxy-v2 source {balancer}
listen ssh
  bind {ssh} ssl crt {pem}
  server hub {hub_ssh} send-proxy-v2 source {balancer}
"""

TINYPROXY = """
Port {port}
Listen 127.0.0.1
Timeout 600
LogFile "{folder}/tinyproxy.log"
LogLevel Connect
Allow 127.0.0.0/8
BasicAuth alice secret
"""


CLIENT = "127.0.0.1"


class Fronts:
    """The addresses of everything in front, and what its certificate is verified with."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.ca = cluster.folder / "front-ca.pem"
        self.ca.write_bytes(self_signed_pem()[0])
        self.pem = cluster.folder / "front.pem"
        self.pem.write_bytes(b"".join(self_signed_pem()))
        self.nginx = {name: f"127.0.0.1:{free_port()}" for name in ("web", "ssh", "tunnel", "auth")}
        self.haproxy = {name: f"127.0.0.1:{free_port()}" for name in ("ssh", "tunnel")}
        self.proxy = f"127.0.0.1:{free_port()}"

    @property
    def hub(self) -> dict[str, str]:
        hub = {f"hub_{name}": address for name, address in self.cluster.addresses.items()}
        return {**hub, "balancer": BALANCER}

    @contextmanager
    def running(self) -> Iterator[None]:
        folder = self.cluster.folder
        (folder / "nginx.conf").write_text(
            NGINX.format(folder=folder, pem=self.pem, **self.nginx, **self.hub)
        )
        (folder / "haproxy.cfg").write_text(HAPROXY.format(pem=self.pem, **self.haproxy, **self.hub))
        (folder / "tinyproxy.conf").write_text(TINYPROXY.format(folder=folder, port=self.proxy.split(":")[1]))
        commands = {
            "nginx": ["nginx", "-p", str(folder), "-c", str(folder / "nginx.conf")],
            "haproxy": ["haproxy", "-db", "-f", str(folder / "haproxy.cfg")],
            "tinyproxy": ["tinyproxy", "-d", "-c", str(folder / "tinyproxy.conf")],
        }
        with ExitStack() as stack:
            for name, command in commands.items():
                daemon = Daemon(command, clean_environment(), folder / f"{name}.out")
                stack.callback(daemon.stop)
            for address in (*self.nginx.values(), *self.haproxy.values(), self.proxy):
                wait_for_listener(address)
            yield


@pytest.fixture(scope="module")
def fronts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fronts]:
    any_port = f"{HUB}:0"
    proxy = {
        "listen_addr": any_port,
        "ssh_listen_addr": any_port,
        "tunnel_listen_addr": any_port,
        "tls_mode": "off",
        "public_addr": "localhost:443",
        "proxy_protocol": "on",
        "proxy_protocol_trusted_cidrs": [f"{BALANCER}/32"],
        "trusted_ip_header": "X-Forwarded-For",
        "trusted_ip_header_cidrs": [f"{BALANCER}/32"],
    }
    auth = {"listen_addr": any_port, "grpc_allow_http": True}
    with running_cluster(tmp_path_factory.mktemp("out"), proxy=proxy, auth=auth) as cluster:
        fronts = Fronts(cluster)
        with fronts.running():
            yield fronts


def start_agent(fronts: Fronts, name: str, **extra: str) -> None:
    environment = {
        "MEZITE_AUTH_ADDR": fronts.nginx["auth"],
        "MEZITE_OUTER_CA_FILE": str(fronts.ca),
        "MEZITE_JOIN_TOKEN": fronts.cluster.join_token(),
        **extra,
    }
    fronts.cluster.start_agent(name, **environment)


def login(fronts: Fronts, home: str, *options: str, ssh: str = "", known: bool = False) -> None:
    """Log in through nginx, whose CA may be known already, and name the SSH port that this test is about."""
    trust = [] if known else [f"--ca-file={fronts.ca}"]
    command = ["login", f"--proxy={fronts.nginx['web']}", *trust, "--user=admin", "--password-stdin"]
    fronts.cluster.msh(*command, *options, home=home, stdin=PASSWORD)
    if ssh:
        set_current(fronts, home, ssh_addr=ssh)


def current(fronts: Fronts, home: str) -> dict[str, str]:
    found: dict[str, str] = json.loads((fronts.cluster.folder / home / "current").read_text())
    return found


def set_current(fronts: Fronts, home: str, **changes: str) -> None:
    path = fronts.cluster.folder / home / "current"
    path.write_text(json.dumps({**current(fronts, home), **changes}))


def ssh(fronts: Fronts, home: str, node: str, command: str, *, stdin: bytes = b"", **extra: str) -> bytes:
    result = subprocess.run(
        [*program_command("msh"), "ssh", f"{ME}@{node}", command],
        env=clean_environment({**fronts.cluster.msh_environment(home), **extra}),
        input=stdin,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr.decode()
    return result.stdout


def last_client(fronts: Fronts, node: str) -> object:
    (event, *_) = fronts.cluster.audit("--type=session.start", "--limit=1")
    assert event["resource_name"] == node or event["server_hostname"] == node
    return event["client_ip"]


def test_nginx_ends_tls_for_agent_and_msh(fronts: Fronts) -> None:
    """The page's `listen 3024 ssl` and `listen 3023 ssl`; msh finds out by itself and remembers."""
    start_agent(fronts, "wrapped", MEZITE_PROXY_ADDR=fronts.nginx["tunnel"], MEZITE_TLS_WRAP="true")
    login(fronts, "nginx", ssh=fronts.nginx["ssh"])
    assert ssh(fronts, "nginx", "wrapped", "echo through") == b"through\n"
    assert current(fronts, "nginx")["carrier"] == "tls"
    # Who dialled nginx, not nginx: PROXY carries it.
    assert last_client(fronts, "wrapped") == CLIENT


def test_haproxy_ends_tls_for_agent_and_msh(fronts: Fronts) -> None:
    start_agent(fronts, "haproxied", MEZITE_PROXY_ADDR=fronts.haproxy["tunnel"], MEZITE_TLS_WRAP="true")
    # A second login believes the balancer as the first did.
    login(fronts, "nginx", ssh=fronts.haproxy["ssh"], known=True)
    assert ssh(fronts, "nginx", "haproxied", "echo through") == b"through\n"
    assert current(fronts, "nginx")["carrier"] == "tls"
    assert last_client(fronts, "haproxied") == CLIENT


def test_websockets_for_agent_and_msh(fronts: Fronts) -> None:
    """Only nginx's HTTPS port is used, but for joining; and 50 MB arrive as they were."""
    start_agent(fronts, "in-websocket", MEZITE_PROXY_ADDR=f"https://{fronts.nginx['web']}")
    login(fronts, "websocket", "--websocket", ssh="127.0.0.1:1")
    data = os.urandom(1024 * 1024) * 50
    wanted = hashlib.sha256(data).hexdigest()
    up = ssh(fronts, "websocket", "in-websocket", "sha256sum", stdin=data)
    assert up.split()[0].decode() == wanted
    # The header of a balancer that is trusted.
    assert last_client(fronts, "in-websocket") == CLIENT


def proxied(fronts: Fronts, user: str = "alice:secret@") -> dict[str, str]:
    return {"HTTPS_PROXY": f"http://{user}{fronts.proxy}"}


def connects_of(fronts: Fronts) -> str:
    return (fronts.cluster.folder / "tinyproxy.log").read_text()


def test_an_http_proxy_for_everything(fronts: Fronts) -> None:
    cluster = fronts.cluster
    environment = {
        "MEZITE_PROXY_ADDR": cluster.addresses["tunnel"],
        "MEZITE_AUTH_ADDR": cluster.addresses["auth"],
    }
    start_agent(fronts, "proxied", **environment, **proxied(fronts))
    login(fronts, "proxied", ssh=cluster.addresses["ssh"])
    assert ssh(fronts, "proxied", "proxied", "echo through", **proxied(fronts)) == b"through\n"
    log = connects_of(fronts)
    for name in ("tunnel", "auth", "ssh"):
        assert f"CONNECT {cluster.addresses[name]} HTTP/1.1" in log, name
    result = cluster.run(
        [
            *program_command("mezctl"),
            f"--auth-server={cluster.addresses['auth']}",
            f"--ca-pin={cluster.pin}",
            "nodes",
            "ls",
        ],
        environment={"MEZITE_AUTH_TOKEN": cluster.token, **proxied(fronts)},
    )
    assert "proxied" in result.stdout
    before = len(connects_of(fronts))
    ssh(fronts, "proxied", "proxied", "true", **proxied(fronts), NO_PROXY="127.0.0.0/8")
    assert len(connects_of(fronts)) == before


@pytest.mark.parametrize(
    ("user", "what"), [("", "set the user and password"), ("alice:wrong@", "check the user and password")]
)
def test_a_proxy_that_wants_a_password(fronts: Fronts, user: str, what: str) -> None:
    address = fronts.cluster.addresses["auth"]
    result = fronts.cluster.run(
        [*program_command("mezctl"), f"--auth-server={address}", "nodes", "ls"],
        environment={"MEZITE_AUTH_TOKEN": fronts.cluster.token, **proxied(fronts, user)},
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr.startswith(
        f"error: cannot connect to {address} through the proxy {fronts.proxy}: 40"
    ), result.stderr
    assert f"; {what} in HTTPS_PROXY" in result.stderr


def test_a_proxy_that_cannot_get_there(fronts: Fronts) -> None:
    result = fronts.cluster.run(
        [*program_command("mezctl"), "--auth-server=127.0.0.9:9", "nodes", "ls"],
        environment={"MEZITE_AUTH_TOKEN": fronts.cluster.token, **proxied(fronts)},
        check=False,
    )
    assert result.returncode == 1
    assert f"cannot connect to 127.0.0.9:9 through the proxy {fronts.proxy}: 50" in result.stderr
    assert "the proxy cannot reach 127.0.0.9" in result.stderr


def test_an_agent_that_does_not_know_the_balancer(fronts: Fronts) -> None:
    """Joining: nobody vouches for the certificate at auth_addr, so the token is not shown."""
    result = fronts.cluster.try_agent(
        "stranger",
        MEZITE_AUTH_ADDR=fronts.nginx["auth"],
        MEZITE_PROXY_ADDR=fronts.nginx["tunnel"],
        MEZITE_JOIN_TOKEN=fronts.cluster.join_token(),
    )
    assert result.returncode == 1
    assert "neither the cluster's CA nor the system's roots vouch for its certificate" in result.stderr
    assert "set outer_ca_file (MEZITE_OUTER_CA_FILE)" in result.stderr
