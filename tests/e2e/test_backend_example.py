# SPDX-License-Identifier: Apache-2.0
"""The Flask example behind a hub, all of it real: who asks arrives, verified, and each request is on record."""

from __future__ import annotations

import json
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import attrs
import httpx
import jwt
import pytest

from mezite.testing.ports import free_address, free_port
from tests.e2e.app_visitor import Visitor
from tests.e2e.harness import Cluster, Daemon, clean_environment, running_cluster

pytestmark = pytest.mark.e2e

EXAMPLE = Path(__file__).parents[2] / "examples" / "backends" / "flask_app"
DOMAIN = "apps.localhost"
HOST = f"notes.{DOMAIN}"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@attrs.frozen
class Site:
    """A hub, an agent, and the example behind it."""

    cluster: Cluster
    visitor: Visitor
    uri: str


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("backend")
    web, uri = free_address(), f"http://127.0.0.1:{free_port()}"
    hub = f"localhost:{web.rpartition(':')[2]}"
    proxy = {"listen_addr": web, "public_addr": hub, "apps_domain": DOMAIN}
    with ExitStack() as stack:
        cluster = stack.enter_context(running_cluster(folder, proxy=proxy))
        roots = folder / "roots.pem"
        roots.write_text(cluster.mezctl("auth", "export", "--type=host-tls").stdout)
        environment = {
            "MEZITE_APP_URI": uri,
            "MEZITE_JWKS_URL": f"https://{hub}/workload-identity/app-jwt-jwks.json",
            "SSL_CERT_FILE": str(roots),
            "PYTHONPATH": str(EXAMPLE.parents[2]),
        }
        command = [
            sys.executable,
            "-m",
            "flask",
            f"--app={EXAMPLE}",
            "run",
            f"--port={uri.rpartition(':')[2]}",
        ]
        flask = Daemon(command, clean_environment(environment), folder / "flask.log")
        stack.callback(flask.stop)
        flask.wait_for(lambda line: "Running on" in line)
        cluster.start_agent("near")
        cluster.mezctl(
            "apps", "register", "--name=notes", f"--uri={uri}", f"--public-addr={HOST}", "--agent-hostname=near",
            "--labels=env=test",
        )  # fmt: skip
        visitor = Visitor(hub, ssl.create_default_context(cafile=roots))
        stack.callback(visitor.close)
        visitor.log_in("admin")
        visitor.visit(HOST, "/")
        yield Site(cluster, visitor, uri)


def test_the_backend_knows_who_asks_and_believes_nobody_else(site: Site) -> None:
    forged = {"X-Mezite-User": "root", "Mezite-Jwt-Assertion": "e.y.J"}
    answer = site.visitor.ask("GET", HOST, "/", headers=forged)
    assert (answer.status_code, answer.json()) == (200, {"user": "admin", "roles": ["admin", "access"]})
    assert site.visitor.ask("GET", HOST, "/admin").json() == {"answer": "42"}
    around = httpx.get(site.uri, headers={"X-Mezite-User": "admin"}, trust_env=False)
    assert around.status_code == 401
    assert "has not come through a hub" in around.text


def test_the_exported_key_set_is_the_published_one(site: Site) -> None:
    exported = json.loads(site.cluster.mezctl("auth", "export", "--type=app-jwt").stdout)
    published = site.visitor.ask("GET", "localhost", "/workload-identity/app-jwt-jwks.json")
    assert exported == published.json()
    assert len(jwt.PyJWKSet.from_dict(exported).keys) == 2


def test_each_request_is_on_record_with_its_trace(site: Site) -> None:
    parent = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    site.visitor.ask("GET", HOST, "/admin?token=secret", headers=parent)
    site.visitor.ask("GET", HOST, "/nowhere")
    give_up, listed, events = time.monotonic() + 60, "", []
    while "/nowhere" not in listed and time.monotonic() < give_up:
        # Records are written behind the requests' back.
        listed = site.cluster.mezctl(
            "audit", "ls", "--type=app.request", "--user=admin", "--format=json"
        ).stdout
        events = json.loads(listed)
    (traced,) = (event for event in events if event["trace_id"] == TRACE)
    said = {
        "app": "notes",
        "agent": "near",
        "method": "GET",
        "path": "/admin",
        "status": 200,
        "success": True,
    }
    assert said.items() <= traced.items()
    assert traced["bytes_sent"] > 0
    assert "secret" not in listed
    (missed,) = (event for event in events if event["path"] == "/nowhere")
    assert (missed["status"], missed["success"], len(missed["trace_id"])) == (404, True, 32)
