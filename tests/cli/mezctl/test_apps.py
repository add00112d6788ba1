# SPDX-License-Identifier: Apache-2.0
"""`mezctl apps` against a hub."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.commands import HubInThread
from tests.hub.keypairs import certificate, ecdsa_key, key_pem

REGISTER = ("apps", "register", "--name=grafana", "--uri=http://10.0.3.12:3000")


def test_an_application_from_registering_to_removing(hub: HubInThread) -> None:
    created = hub.mezctl(
        *REGISTER,
        "--public-addr=grafana.apps.example.com",
        "--labels=env=prod,team=platform",
        "--agent-hostname=node-1",
        "--agent-hostname=node-2",
    )
    assert created.out == "application grafana registered: grafana.apps.example.com\n"
    assert created.err.count("warning: no node is called node-") == 2
    (row,) = hub.mezctl("apps", "ls", "--format=json").json
    assert (row["name"], row["status"], row["protocol"]) == ("grafana", "offline", "http")
    assert row["labels"] == {"env": "prod", "team": "platform"}
    assert row["agent_hostnames"] == ["node-1", "node-2"]
    assert row["uri"] == "http://10.0.3.12:3000"
    assert "grafana.apps.example.com" in hub.mezctl("apps", "list").out
    changed = hub.mezctl("apps", "add-agent", "grafana", "--agent-hostname=node-3")
    assert changed.out.endswith("node-3 (unknown)\n")
    assert hub.mezctl("apps", "rm-agent", "grafana", "--agent-hostname=node-1").out == (
        "application grafana is served by node-2 (unknown), node-3 (unknown)\n"
    )
    assert hub.mezctl("apps", "disable", "grafana").out == "application grafana is disabled\n"
    got = hub.mezctl("apps", "get", "grafana", "--format=json").json
    assert (got["status"], got["enabled"], got["max_body"]) == ("disabled", False, None)
    assert hub.mezctl("apps", "enable", "grafana").out == "application grafana is enabled\n"
    again = hub.mezctl(*REGISTER, "--format=json")
    assert (again.json["created"], again.json["agent_hostnames"]) == (False, ["node-2", "node-3"])
    assert hub.mezctl("apps", "rm", "grafana").out == "application grafana removed\n"
    gone = hub.mezctl("apps", "get", "grafana")
    assert (gone.code, "application grafana does not exist" in gone.err) == (1, True)


def test_a_tcp_application_needs_no_address(hub: HubInThread) -> None:
    created = hub.mezctl("apps", "register", "--name=redis", "--protocol=tcp", "--uri=tcp://redis:6379")
    assert created.out == "application redis registered: `msh app login redis --port N`\n"
    assert "no agent serves it" in created.err
    refused = hub.mezctl(
        "apps", "register", "--name=redis", "--uri=tcp://redis:6379", "--public-addr=redis.apps.example.com"
    )
    assert "a TCP application has no public address" in refused.err
    assert hub.mezctl("apps", "delete", "redis").code == 0


def test_what_is_believed_is_said_aloud(hub: HubInThread, tmp_path: Path) -> None:
    key = ecdsa_key()
    pem = tmp_path / "ca.pem"
    pem.write_bytes(key_pem(key) + certificate(key, "ca.example"))
    options = ("apps", "register", "--name=wiki", "--uri=https://wiki:8443")
    assert hub.mezctl(*options, f"--ca-file={pem}").code == 0
    row = hub.mezctl("apps", "get", "wiki", "--format=json").json
    assert row["ca_pem"].startswith("-----BEGIN CERTIFICATE-----")
    assert "PRIVATE" not in str(row)
    text = hub.mezctl("apps", "get", "wiki").out
    assert "against the certificates that were given" in text
    assert "BEGIN" not in text
    unwise = hub.mezctl(*options, "--insecure-skip-verify")
    assert "warning: the certificate of https://wiki:8443 is not verified" in unwise.err
    assert (
        "INSECURE: the certificate of https://wiki:8443 is not verified"
        in hub.mezctl("apps", "get", "wiki").out
    )
    assert hub.mezctl(*options).code == 0
    assert "against the hub's system roots" in hub.mezctl("apps", "get", "wiki").out
    assert hub.mezctl("apps", "rm", "wiki").code == 0


def test_options(hub: HubInThread) -> None:
    registered = hub.mezctl(
        *REGISTER,
        "--cors-origins=https://a.example, https://b.example",
        "--request-header=X-Scope-OrgID=1",
        "--request-header=accept-encoding=",
        "--response-header=server=",
        "--max-body=10MiB",
        "--rewrite-location",
        "--http1-only",
        "--format=json",
    )
    row = registered.json
    assert row["cors_origins"] == ["https://a.example", "https://b.example"]
    assert row["request_headers"] == {"accept-encoding": "", "x-scope-orgid": "1"}
    assert row["response_headers"] == {"server": ""}
    assert (row["max_body"], row["rewrite_location"], row["http1_only"]) == (10 * 1024 * 1024, True, True)
    assert hub.mezctl("apps", "rm", "grafana").code == 0


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (("--public-addr=grafana.example.com",), 1, "use grafana.apps.example.com"),
        (("--public-addr=grafana.apps.example.com:443",), 1, "use grafana.apps.example.com"),
        (("--uri=10.0.3.12:3000",), 1, "write http://10.0.3.12:3000"),
        (("--protocol=tcp",), 1, "does not go with http://10.0.3.12:3000"),
        (("--protocol=udp",), 2, "udp"),
        (("--labels=env",), 2, "--labels cannot be read"),
        (("--max-body=lots",), 2, "--max-body cannot be read: 'lots' is no size; write bytes, or 10MiB"),
        (("--request-header=x",), 2, "has no '='"),
        (("--request-header=x=1", "--request-header=X=2"), 2, "is given twice"),
        (("--request-header=x-mezite-user=root",), 1, "written by the hub"),
        (("--cors-origins=*",), 1, "name the origins"),
        (("--ca-file=/nowhere",), 2, "No such file"),
        (("--ca-file=/dev/null",), 2, "has no certificate"),
    ],
)
def test_what_cannot_be(hub: HubInThread, arguments: tuple[str, ...], code: int, why: str) -> None:
    refused = hub.mezctl(*REGISTER, *arguments)
    assert (refused.code, refused.out, why in refused.err) == (code, "", True), refused.err
    assert hub.mezctl("apps", "ls", "--format=json").json == []


def test_explaining(hub: HubInThread) -> None:
    assert hub.mezctl("apps", "register", "--name=wiki", "--uri=http://wiki").code == 0
    answer = hub.mezctl("access", "explain", "--user=root", "--app=wiki", "--format=json").json
    assert (answer["allowed"], answer["rule"], answer["logins"]) == (True, "allow.app_labels", {})
    for wrong in (("--app=wiki", "--node=n"), ("--node=n",), ()):
        refused = hub.mezctl("access", "explain", "--user=root", *wrong)
        assert (refused.code, "--app" in refused.err) == (2, True)
    assert hub.mezctl("apps", "rm", "wiki").code == 0


def test_health_is_asked_for(hub: HubInThread) -> None:
    hub.mezctl(*REGISTER, "--agent-hostname=node-1")
    (row,) = hub.mezctl("apps", "ls", "--format=json").json
    assert (row["health"], row["health_path"], row["health_interval"]) == (None, None, None)
    assert row["agents"][0]["health"] is None
    hub.mezctl(*REGISTER, "--health-path=/healthz")
    row = hub.mezctl("apps", "get", "grafana", "--format=json").json
    assert (row["health"], row["health_path"], row["health_interval"]) == ("unknown", "/healthz", "30s")
    assert row["agents"] == [
        {
            "hostname": "node-1",
            "status": "unknown",
            "health": "unknown",
            "health_since": None,
            "health_reason": None,
        }
    ]
    assert "node-1 (unknown, unknown)" in hub.mezctl("apps", "get", "grafana").out
    hub.mezctl(*REGISTER, "--health-interval=1m30s")
    assert hub.mezctl("apps", "get", "grafana", "--format=json").json["health_interval"] == "1m30s"
    for given, why in (
        ("--health-interval=5", "is not a duration"),
        ("--health-interval=2d", "choose from 1s to 1h"),
        ("--health-interval=36500d", "choose from 1s to 1h"),
        ("--health-path=healthz", "begin with /"),
    ):
        refused = hub.mezctl(*REGISTER, given)
        assert refused.code, given
        assert why in refused.err
    hub.mezctl("apps", "rm", "grafana")
