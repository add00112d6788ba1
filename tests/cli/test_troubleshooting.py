# SPDX-License-Identifier: Apache-2.0
"""The troubleshooting entries of the product page, each with the mistake made for real in an nginx."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest

from mezite.agent.assembly import Agent
from mezite.agent.identity_store import IdentityStore
from mezite.agent.tunnel_client import TunnelRefusedError
from mezite.net.outbound import Outbound
from mezite.ssh.spawn import ProcessSpawner
from mezite.testing.ports import free_address
from mezite.testing.self_signed import self_signed_pem
from tests.balancers import nginx
from tests.cli.commands import HubInThread, Result, run

pytestmark = pytest.mark.e2e

GRPC_REMEDY = (
    "must point to the gRPC port (3025); a load balancer must expose it and forward it as gRPC/h2c (HTTP/2 cleartext) "
    "to the hub's 3025, with MEZITE_GRPC_ALLOW_HTTP=true or MEZITE_AUTH_H2C=true on the hub"
)


@attrs.frozen(kw_only=True)
class Balancer:
    """What an operator got wrong, one address for each mistake."""

    https: str
    """The web interface in TLS: what is usually on port 443."""
    tunnel_to_web: str
    """TCP passed on to the hub's HTTPS port instead of its tunnel port."""
    tunnel_ended: str
    """TLS that nginx ends, in front of the tunnel port."""
    tunnel_to_nowhere: str
    """TCP to a port where nothing listens."""
    grpc_http1: str
    """The gRPC port as if it were a web server: HTTP/1 only."""
    grpc_to_nowhere: str
    """HTTP/2 and grpc_pass, to a port where nothing listens."""


def http_block(balancer: Balancer, hub: HubInThread) -> str:
    return f"""
      server {{ listen {balancer.https} ssl;
        location / {{ proxy_pass https://{hub.hub.address("web")}; proxy_ssl_verify off; }} }}
      server {{ listen {balancer.grpc_http1} ssl;
        location / {{ proxy_pass https://{hub.hub.address("auth")}; }} }}
      server {{ listen {balancer.grpc_to_nowhere} ssl http2;
        location / {{ grpc_pass grpc://127.0.0.1:1; }} }}"""


def stream_block(balancer: Balancer, hub: HubInThread) -> str:
    return f"""
      server {{ listen {balancer.tunnel_to_web}; proxy_pass {hub.hub.address("web")}; }}
      server {{ listen {balancer.tunnel_ended} ssl; proxy_pass {hub.hub.address("tunnel")}; }}
      server {{ listen {balancer.tunnel_to_nowhere}; proxy_pass 127.0.0.1:1; }}"""


@pytest.fixture(scope="module")
def balancer(hub: HubInThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Balancer]:
    made = Balancer(**{field.name: free_address() for field in attrs.fields(Balancer)})
    folder = tmp_path_factory.mktemp("nginx")
    wait = [made.https, made.tunnel_to_web, made.grpc_to_nowhere]
    with nginx(folder, http=http_block(made, hub), stream=stream_block(made, hub), wait=wait):
        yield made


@pytest.fixture(scope="module")
def agent(hub: HubInThread, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of an agent that has joined."""
    folder = tmp_path_factory.mktemp("agent")
    enrolled = hub.do(hub.hub.enroll, "troubled")
    store = IdentityStore(folder)
    store.save_keys(enrolled.keys)
    store.save(enrolled.identity)
    return folder


def steps(result: Result) -> dict[str, dict[str, Any]]:
    return {step["step"]: step for step in json.loads(result.out)["steps"]}


def mezd_doctor(hub: HubInThread, agent: Path, **environ: str) -> Result:
    addresses = {"MEZITE_PROXY_ADDR": hub.hub.address("tunnel"), "MEZITE_AUTH_ADDR": hub.hub.address("auth")}
    return run(
        "mezd", "doctor", "--format=json", environ={"MEZITE_DATA_DIR": str(agent)} | addresses | environ
    )


async def connect(hub: HubInThread, agent: Path, address: str) -> str:
    """What the agent writes into its log when it has failed to connect."""
    store = IdentityStore(agent)
    keys, identity = store.load_keys(), store.load()
    assert keys is not None
    assert identity is not None
    daemon = Agent(
        config=hub.hub.agent_config(agent, proxy_addr=address),
        keys=keys,
        identity=identity,
        spawner=ProcessSpawner.__new__(ProcessSpawner),
        now=hub.hub.sources.now,
        outbound=Outbound(),
    )
    with pytest.raises(TunnelRefusedError) as refused:
        await daemon._connect()
    return str(refused.value)


@pytest.mark.parametrize("where", ["https", "tunnel_to_web"])
def test_the_agent_is_at_the_https_port(
    hub: HubInThread, agent: Path, balancer: Balancer, where: str
) -> None:
    """Page: 'Agent tunnel fails with "SSH handshake: EOF"'."""
    address = getattr(balancer, where)
    result = mezd_doctor(hub, agent, MEZITE_PROXY_ADDR=address)
    assert result.code == 1
    assert json.loads(result.out)["first_broken"] == "tunnel: handshake"
    port = address.rpartition(":")[2]
    must = f"must point to the tunnel port (3024), not the HTTPS port ({port})"
    assert steps(result)["tunnel: handshake"]["remedy"] == f"MEZITE_PROXY_ADDR {must}"
    assert f"{must}; `mezd doctor`" in hub.do(partial(connect, hub, agent, address))


def test_the_balancer_ends_tls_and_the_agent_does_not_know(
    hub: HubInThread, agent: Path, balancer: Balancer
) -> None:
    result = mezd_doctor(hub, agent, MEZITE_PROXY_ADDR=balancer.tunnel_ended)
    assert json.loads(result.out)["first_broken"] == "tunnel: handshake"
    assert "MEZITE_TLS_WRAP=true" in steps(result)["tunnel: handshake"]["remedy"]


def test_the_same_agent_wrapped(hub: HubInThread, agent: Path, balancer: Balancer, tmp_path: Path) -> None:
    environ = {"MEZITE_PROXY_ADDR": balancer.tunnel_ended, "MEZITE_TLS_WRAP": "true"}
    stranger = mezd_doctor(hub, agent, **environ)
    assert json.loads(stranger.out)["first_broken"] == "tunnel: outer TLS"
    assert "MEZITE_OUTER_CA_FILE" in steps(stranger)["tunnel: outer TLS"]["remedy"]
    (tmp_path / "roots.pem").write_bytes(self_signed_pem()[0])
    result = mezd_doctor(hub, agent, MEZITE_OUTER_CA_FILE=str(tmp_path / "roots.pem"), **environ)
    assert (result.code, result.err) == (0, "")
    assert "certificate of localhost" in steps(result)["tunnel: outer TLS"]["detail"]


def test_the_upstream_is_closed(hub: HubInThread, agent: Path, balancer: Balancer) -> None:
    result = mezd_doctor(hub, agent, MEZITE_PROXY_ADDR=balancer.tunnel_to_nowhere)
    assert json.loads(result.out)["first_broken"] == "tunnel: handshake"
    step = steps(result)["tunnel: handshake"]
    assert step["detail"].startswith("the connection is closed without an answer")
    assert "let it forward port 3024 to the hub's 3024" in step["remedy"]


@pytest.mark.parametrize("where", ["refused", "grpc_http1", "grpc_to_nowhere"])
def test_mezctl_returns_connection_refused_or_tls_errors(
    hub: HubInThread, balancer: Balancer, tmp_path: Path, where: str
) -> None:
    """Page: 'mezctl returns "connection refused" or TLS errors'."""
    (tmp_path / "roots.pem").write_bytes(self_signed_pem()[0])
    address = "127.0.0.1:1" if where == "refused" else getattr(balancer, where)
    result = run(
        "mezctl",
        f"--auth-server={address}",
        f"--ca-file={tmp_path / 'roots.pem'}",
        "doctor",
        "--format=json",
        environ={"MEZITE_AUTH_TOKEN": "x" * 64},
    )
    assert result.code == 1
    broken = json.loads(result.out)["first_broken"]
    assert (
        broken
        == {
            "refused": "gRPC: TCP",
            "grpc_http1": "gRPC: TLS",
            "grpc_to_nowhere": "gRPC: call",
        }[where]
    )
    assert steps(result)[broken]["remedy"] == f"--auth-server {GRPC_REMEDY}"
    assert GRPC_REMEDY in result.err


@pytest.mark.parametrize("where", ["grpc_http1", "grpc_to_nowhere"])
def test_the_agents_calls_fail_with_502(
    hub: HubInThread, agent: Path, balancer: Balancer, where: str
) -> None:
    """Page: 'Agent recording upload fails with 502'."""
    result = mezd_doctor(hub, agent, MEZITE_AUTH_ADDR=getattr(balancer, where))
    assert result.code == 1
    broken = json.loads(result.out)["first_broken"]
    step = steps(result)[broken]
    assert step["remedy"] == f"MEZITE_AUTH_ADDR {GRPC_REMEDY}"
    if where == "grpc_to_nowhere":
        assert step["detail"] == "the server or a proxy answered with HTTP status 502"
    else:
        assert "HTTP/2" in step["detail"]
