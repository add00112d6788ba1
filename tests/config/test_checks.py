# SPDX-License-Identifier: Apache-2.0
"""Rules between keys, and the notes of `mezhub check`."""

import re
from pathlib import Path

import pytest

from mezite.config.checks import AGENT_NOT_OBEYED_YET, NOT_OBEYED_YET, agent_notes, hub_notes
from mezite.config.keys import walk
from mezite.config.loader import load_agent_config, load_hub_config
from mezite.config.problems import ConfigProblems
from mezite.config.schema import AgentConfig, HubConfig

ROOT = Path(__file__).parent.parent.parent


def variables(**keys):
    return {"MEZITE_" + name.upper(): value for name, value in keys.items()}


def problems(**keys):
    with pytest.raises(ConfigProblems) as caught:
        load_hub_config(None, variables(**keys))
    return [(problem.key.rpartition("(")[2].rstrip(")"), problem.why) for problem in caught.value.problems]


def accepted(**keys):
    return load_hub_config(None, variables(**keys))


@pytest.mark.parametrize("mode", ["on", "require"])
@pytest.mark.parametrize(
    ("cidrs", "why"),
    [
        ("", "is empty while proxy.proxy_protocol is on"),
        ("0.0.0.0/0", "trusts every address"),
        ("::/0", "trusts every address"),
        ("0.0.0.0/1,128.0.0.0/1", "trusts every address"),
        ("::ffff:0:0/96", "trusts every address"),
        ("10.0.0.0/8,::/1,8000::/1", "trusts every address"),
    ],
)
def test_proxy_protocol_needs_to_know_whom_to_trust(mode, cidrs, why):
    """C1: Gitea's image trusted `*` (CVE-2026-20896); a /0 in halves is a /0."""
    found = problems(proxy_proxy_protocol=mode, proxy_proxy_protocol_trusted_cidrs=cidrs)
    assert found == [("proxy.proxy_protocol_trusted_cidrs", why)]


def test_proxy_protocol_with_a_real_list():
    accepted(proxy_proxy_protocol="require", proxy_proxy_protocol_trusted_cidrs="10.0.0.0/8, fd00::/8")
    accepted(proxy_proxy_protocol_trusted_cidrs="0.0.0.0/0")


def test_trusted_header_needs_to_know_whom_to_trust():
    """C1, D7."""
    key = "proxy.trusted_ip_header_cidrs"
    everyone = {"trusted_ip_header": "X-Forwarded-For", "proxy_trusted_ip_header_cidrs": "0.0.0.0/0"}
    assert problems(**everyone) == [(key, "trusts every address")]
    nobody = {"trusted_ip_header": "X-Forwarded-For", "proxy_trusted_ip_header_cidrs": ","}
    assert problems(**nobody) == [(key, "is empty while proxy.trusted_ip_header is set")]
    accepted(trusted_ip_header="X-Forwarded-For")


def test_a_check_is_silent_when_its_value_could_not_be_read():
    found = problems(proxy_proxy_protocol="on", proxy_proxy_protocol_trusted_cidrs="nonsense")
    assert found == [("proxy.proxy_protocol_trusted_cidrs", "'nonsense' is not a CIDR")]


def test_a_webhook_is_signed():
    file, url = {"webhooks_secret_file": "/s"}, {"webhooks_url": "https://hooks.example.com/x"}
    assert problems(**url) == [("webhooks.secret_file", "is needed by webhooks.url")]
    assert problems(**file) == [("webhooks.url", "is missing")]
    assert accepted(**file, **url, webhooks_events="approved,access_request.denied").webhooks.events == (
        "approved",
        "denied",
    )


@pytest.mark.parametrize(
    ("keys", "why"),
    [
        ({"webhooks_url": "http://hooks.example.com/x"}, "it does not begin with https://"),
        ({"webhooks_url": "hooks"}, "not a URL such as https://login.example.com/path"),
        (
            {"webhooks_events": "approves"},
            "'approves' is not something that happens to an access request",
        ),
        (
            {"webhooks_events": "session.start"},
            "'session.start' is not something that happens to an access request",
        ),
    ],
)
def test_what_is_no_webhook(keys, why):
    assert why in [found for _, found in problems(**keys)]


def test_keypairs_are_pairs():
    assert [key for key, _ in problems(proxy_tls_mode="file")] == [
        "proxy.keypair.cert_file",
        "proxy.keypair.key_file",
    ]
    accepted(proxy_tls_mode="file", proxy_keypair_cert_file="/c", proxy_keypair_key_file="/k")
    assert problems(proxy_apps_keypair_key_file="/k") == [("proxy.apps_keypair.cert_file", "is missing")]
    assert problems(proxy_apps_keypair_cert_file="/c") == [("proxy.apps_keypair.key_file", "is missing")]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"database_driver": "postgres"}, ("database.name", "is needed by driver postgres")),
        ({"database_host": "h"}, ("database.host", "has no effect with SQLite")),
        (
            {"database_url": "x.db", "database_user": "u"},
            ("database.user", "has no effect beside database.url"),
        ),
        ({"database_url": "mysql://h/d"}, ("database.url", "mysql:// is not a known database")),
        (
            {"database_url": "x.db", "database_driver": "postgres"},
            ("database.url", "is a path, but database.driver is postgres"),
        ),
        (
            {"database_url": "postgres://h/d", "database_driver": "sqlite"},
            ("database.driver", "sqlite does not fit the postgres:// URL"),
        ),
    ],
)
def test_the_database_is_said_once_and_whole(keys, expected):
    assert problems(**keys) == [expected]


@pytest.mark.parametrize(
    ("keys", "url"),
    [
        ({}, "sqlite:////var/lib/mezite/mezhub.db"),
        ({"data_dir": "/d"}, "sqlite:////d/mezhub.db"),
        ({"database_url": "/data/x.db"}, "sqlite:////data/x.db"),
        ({"database_url": "sqlite:////y.db"}, "sqlite:////y.db"),
        ({"database_url": "postgres://u:p@h/d"}, "postgresql://u:p@h/d"),
        ({"database_driver": "postgresql", "database_name": "d"}, "postgresql://localhost:5432/d"),
        (
            {
                "database_driver": "postgres",
                "database_host": "::1",
                "database_port": "1",
                "database_user": "a@b",
                "database_password": "p/w",
                "database_name": "d",
                "database_sslmode": "require",
            },
            "postgresql://a%40b:p%2Fw@[::1]:1/d?sslmode=require",
        ),
    ],
)
def test_the_database_as_one_url(keys, url):
    assert accepted(**keys).database_url().reveal() == url


def test_two_listeners_cannot_share_an_address():
    found = problems(proxy_ssh_listen_addr="0.0.0.0:3080")
    assert found == [("proxy.ssh_listen_addr", "0.0.0.0:3080 is already the address of proxy.listen_addr")]
    accepted(proxy_ssh_listen_addr="0.0.0.0:0", proxy_listen_addr="0.0.0.0:0")


def test_on_a_single_port_the_others_are_not_bound():
    accepted(proxy_single_port="yes", proxy_listen_addr="0.0.0.0:3025")
    assert problems(proxy_single_port="yes", proxy_listen_addr="127.0.0.1:3081")[0][0] == "diag.listen_addr"
    assert problems(proxy_single_port="yes", proxy_enabled="no", auth_listen_addr="0.0.0.0:3080")


def test_something_must_be_served():
    assert problems(auth_enabled="no", proxy_enabled="no")[0][0] == "proxy.enabled"
    assert problems(recording_storage="s3") == [("recording.s3.bucket", "is needed by recording.storage s3")]
    accepted(recording_storage="s3", recording_s3_bucket="b")


def test_notes_tell_what_is_weaker_than_it_looks():
    """F3: a deployment without client certificates says so."""
    (note, *_) = hub_notes(accepted(auth_h2c="1"), {})
    assert note.startswith("auth.h2c: cleartext is accepted on 0.0.0.0:3080 and 0.0.0.0:3025")
    assert "client certificates are never required" in note
    (note, *_) = hub_notes(accepted(auth_h2c="1", proxy_single_port="1", proxy_listen_addr="10.0.0.1:80"), {})
    assert note.startswith("auth.h2c: cleartext is accepted on 10.0.0.1:80,")
    (note, *_) = hub_notes(accepted(grpc_allow_http="1"), {})
    assert note.startswith("auth.grpc_allow_http: gRPC is accepted in cleartext on 0.0.0.0:3025;")
    assert note.endswith("let only the load balancer reach it")
    (note, *_) = hub_notes(accepted(proxy_tls_mode="off"), {})
    assert note.startswith("proxy.tls_mode off: HTTPS is served without TLS on 0.0.0.0:3080;")
    assert any("own names only" in note for note in hub_notes(accepted(proxy_tls_mode="off"), {}))
    named = accepted(proxy_tls_mode="off", proxy_public_addr="hub.example")
    assert not any("own names only" in note for note in hub_notes(named, {}))
    assert any("stored unencrypted" in note for note in hub_notes(accepted(), {}))
    assert hub_notes(accepted(ca_key_passphrase="x"), {}) == []


def test_notes_name_keys_that_nothing_obeys_yet():
    assert any(
        note.startswith("recording: not obeyed") for note in hub_notes(accepted(recording_mode="proxy"), {})
    )


SOURCES = (
    "".join(
        path.read_text(encoding="utf-8")
        for folder in ("hub", "agent", "cli")
        for path in (ROOT / "mezite" / folder).rglob("*.py")
    )
    + (ROOT / "mezite" / "config" / "schema.py").read_text(encoding="utf-8").partition("def database_url")[2]
)


@pytest.mark.parametrize(
    ("config_class", "listed"), [(HubConfig, NOT_OBEYED_YET), (AgentConfig, AGENT_NOT_OBEYED_YET)]
)
def test_every_key_is_obeyed_or_listed_as_not(config_class, listed):
    """A key that silently does nothing is a trap, and a note about one that works is a lie."""
    for key in walk(config_class):
        is_listed = any(f"{key.path}.".startswith(f"{path}.") for path in listed)
        words = key.path if "." in key.path else f"config.{key.path}"
        is_used = re.search(rf"\b{re.escape(words)}\b", SOURCES) is not None
        assert is_listed != is_used, f"{key.path}: listed {is_listed}, used {is_used}"


def test_notes_about_a_certificate_for_applications_that_nobody_sees():
    pair = {
        "proxy_apps_keypair_cert_file": "/c",
        "proxy_apps_keypair_key_file": "/k",
        "ca_key_passphrase": "x",
    }
    assert "no effect without proxy.apps_domain" in hub_notes(accepted(**pair), {})[0]
    domain = accepted(**pair, proxy_apps_domain="apps.example.com", proxy_tls_mode="off")
    assert any("no effect with proxy.tls_mode off" in note for note in hub_notes(domain, {}))
    domain = accepted(**pair, proxy_apps_domain="apps.example.com")
    assert not any("apps_keypair" in note for note in hub_notes(domain, {}))


def test_notes_name_variables_that_nothing_reads():
    environ = {"MEZITE_PROXY_LISTEN_ADR": "x", "MEZITE_PASSWORD": "x", "MEZITE_NODE_NAME": "x", "PATH": "x"}
    notes = hub_notes(accepted(ca_key_passphrase="x"), environ)
    assert notes == ["MEZITE_PROXY_LISTEN_ADR in the environment is not a setting and does nothing"]


def test_notes_of_the_agent(tmp_path):
    path = tmp_path / "mezd.yaml"
    path.write_text("proxy_addr: hub\njoin_token: mzt_x\n")
    assert agent_notes(load_agent_config(path, {}), {})[0].startswith("join_token stands in the file")
    environ = {"MEZITE_PROXY_ADDR": "hub", "MEZITE_JOIN_TOKEN": "mzt_x"}
    assert agent_notes(load_agent_config(None, environ), environ) == []
    environ = {"MEZITE_PROXY_ADDR": "https://hub", "MEZITE_TLS_WRAP": "true"}
    notes = agent_notes(load_agent_config(None, environ), environ)
    assert notes == [
        "tls_wrap: has no effect with an https:// proxy_addr, which has an outer TLS session anyway"
    ]
