# SPDX-License-Identifier: Apache-2.0
"""Defaults < file < environment, and every problem at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.config.kinds import HostPort, ListenAddress
from mezite.config.loader import load_agent_config, load_hub_config
from mezite.config.problems import ConfigProblems
from mezite.config.schema import HubConfig


@pytest.fixture
def write(tmp_path):
    def write(text):
        path = tmp_path / "mezhub.yaml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def hub_problems(path, environ=None):
    with pytest.raises(ConfigProblems) as caught:
        load_hub_config(path, environ or {})
    return [str(problem).replace(f"{path}:", "") for problem in caught.value.problems]


def test_nothing_given_is_the_defaults():
    assert load_hub_config(None, {}) == HubConfig()


def test_an_empty_file_is_the_defaults(write):
    for text in ("", "# only a comment\n", "proxy:\n", "~\n", "proxy: {listen_addr: }\n"):
        assert load_hub_config(write(text), {}) == HubConfig()


def test_file_over_default_and_environment_over_file(write):
    path = write("proxy: {listen_addr: '127.0.0.1:1', ssh_listen_addr: ':2'}\ncluster_name: from-file\n")
    config = load_hub_config(path, {"MEZITE_PROXY_LISTEN_ADDR": "[::1]:3", "MEZITE_CLUSTER_NAME": ""})
    assert config.proxy.listen_addr == ListenAddress("::1", 3)
    assert config.proxy.ssh_listen_addr == ListenAddress("", 2)
    assert config.proxy.tunnel_listen_addr == ListenAddress("0.0.0.0", 3024)
    assert config.cluster_name == "from-file", "an empty variable is not set"


def test_five_mistakes_are_five_lines(write):
    path = write(
        "cluster_name: mezite\n"
        "proxy:\n"
        "  listen_adr: 0.0.0.0:3080\n"
        "  proxy_protocol: on\n"
        "  ssh_listen_addr: 0.0.0.0\n"
        "recording:\n"
        "  retention: 90\n"
        "database:\n"
        "  driver: mysql\n"
    )
    assert hub_problems(path) == [
        "3: proxy.listen_adr: unknown key; did you mean proxy.listen_addr?",
        "4: proxy.proxy_protocol_trusted_cidrs: is empty while proxy.proxy_protocol is on; "
        "list the load balancer's own addresses",
        "5: proxy.ssh_listen_addr: '0.0.0.0' has no port; write host:port, for example 0.0.0.0:3080",
        "7: recording.retention: '90' is not a duration such as 90s, 30m, 12h or 1h30m; did you mean 90s?",
        "9: database.driver: 'mysql' is not one of sqlite, postgres, postgresql",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("proxi: {}", "1: proxi: unknown key; did you mean proxy?"),
        ("listen_addr: x", "1: listen_addr: unknown key; did you mean auth.listen_addr?"),
        (
            "proxy.enabled: true",
            "1: proxy.enabled: unknown key; nest it: one line for each word before the dots",
        ),
        ("qqq: 1", "1: qqq: unknown key; known here are cluster_name, data_dir, log, database,"),
        ("proxy: 1", "1: proxy: expected nested keys; for example enabled: …"),
        ("a: 1\na: 2", "2: a: given twice, first on line 1"),
        ("? [a]\n: 1", "1: a key must be a single word"),
        ("- a\n- b", "1: expected keys and values at the top level; write key: value"),
        ("just text", "1: expected keys and values at the top level; write key: value"),
        ("a: [", "1: not valid YAML: expected the node content, but found '<stream end>'"),
        ("a: &x 1", "1: not valid YAML: anchors and aliases are not allowed here"),
        ("a: *x", "1: not valid YAML: anchors and aliases are not allowed here"),
        ("cluster_name: !!python/object:os.system x", "1: cluster_name: tag tag:yaml.org,2002:python/object"),
        ("a: 1\n---\nb: 2", "2: a second document begins here; write a file for each"),
    ],
)
def test_the_form_is_checked_with_lines(write, text, expected):
    assert any(line.startswith(expected) for line in hub_problems(write(text))), hub_problems(write(text))


def test_aliases_cannot_unfold(write):
    """P21: the billion laughs end at the first anchor."""
    text = "a: &a [x]\n" + "".join(f"{c}: &{c} [*a, *a]\n" for c in "bcdefgh")
    assert len(hub_problems(write(text))) == 1


def test_depth_and_size_are_limited(write):
    """P21."""
    assert "nested deeper than 32 levels" in hub_problems(write("[" * 10_000))[0]
    assert hub_problems(write("#" * (1024 * 1024 + 1)))[0].endswith("larger than 1024 KiB")
    assert "not valid YAML" in hub_problems(write(b"a: \xff\xfe\x00"))[0]
    assert (
        "is not between 1 and 1000000"
        in hub_problems(write("proxy: {max_connections: 99999999999999999}"))[0]
    )
    assert "expected a whole number" in hub_problems(write("proxy: {max_connections: " + "9" * 5000 + "}"))[0]


def test_a_missing_or_unreadable_file_is_a_problem(tmp_path):
    missing = tmp_path / "none.yaml"
    assert hub_problems(missing) == [" no such file"]
    assert hub_problems(tmp_path)[0].endswith("cannot be read: Is a directory")


def test_words_that_yaml_takes_for_switches_stay_words(write):
    path = write("proxy: {proxy_protocol: off, tls_mode: off, enabled: yes}\nrecording: {mode: off}\n")
    config = load_hub_config(path, {})
    assert (config.proxy.proxy_protocol, config.proxy.tls_mode, config.recording.mode) == (
        "off",
        "off",
        "off",
    )
    assert config.proxy.enabled is True


def test_named_variables_of_the_product():
    environ = {
        "MEZITE_GRPC_ALLOW_HTTP": "true",
        "MEZITE_AUTH_H2C": "1",
        "MEZITE_TRUSTED_IP_HEADER": "X-Forwarded-For",
        "MEZITE_DATA_DIR": "/data",
    }
    config = load_hub_config(None, environ)
    assert config.auth.grpc_allow_http is config.auth.h2c is True
    assert config.proxy.trusted_ip_header == "X-Forwarded-For"
    assert config.data_dir == "/data"


def test_variables_that_contradict_each_other():
    environ = {"MEZITE_GRPC_ALLOW_HTTP": "true", "MEZITE_AUTH_GRPC_ALLOW_HTTP": "false"}
    assert hub_problems(None, environ) == [
        "environment: MEZITE_AUTH_GRPC_ALLOW_HTTP and MEZITE_GRPC_ALLOW_HTTP: "
        "these variables set one key to different values; keep one of them"
    ]
    same = {"MEZITE_GRPC_ALLOW_HTTP": "true", "MEZITE_AUTH_GRPC_ALLOW_HTTP": "true"}
    assert load_hub_config(None, same).auth.grpc_allow_http is True


def test_a_bad_variable_is_named_with_its_key():
    assert hub_problems(None, {"MEZITE_AUTH_H2C": "maybe"}) == [
        "environment: MEZITE_AUTH_H2C (auth.h2c): expected true or false, found 'maybe'"
    ]


def test_problems_never_show_a_secret(write):
    """H6, P27."""
    path = write("ca_key_passphrase: [canary-77]\ndatabase: {url: 'mysql://u:canary-77@h/d'}\nqq: 1\n")
    assert "canary-77" not in "\n".join(hub_problems(path))
    assert "canary-77" not in repr(load_hub_config(None, {"MEZITE_CA_KEY_PASSPHRASE": "canary-77"}))


def test_the_agent_needs_an_address_and_nothing_else():
    with pytest.raises(ConfigProblems, match="proxy_addr: is not set; set it, or MEZITE_PROXY_ADDR"):
        load_agent_config(None, {})
    config = load_agent_config(None, {"MEZITE_PROXY_ADDR": "hub.example.com"})
    assert (config.proxy_addr, config.auth_addr) == ("hub.example.com:3024", "hub.example.com:3025")


@pytest.mark.parametrize(
    ("given_addr", "proxy_addr", "auth_addr"),
    [
        ("10.0.0.1:443", "10.0.0.1:443", "10.0.0.1:3025"),
        ("https://hub.example.com", "https://hub.example.com:443", "hub.example.com:3025"),
        ("https://hub.example.com:8443/", "https://hub.example.com:8443", "hub.example.com:3025"),
        ("[::1]", "[::1]:3024", "[::1]:3025"),
        ("https://[2001:db8:0::1]", "https://[2001:db8::1]:443", "[2001:db8::1]:3025"),
    ],
)
def test_the_agents_addresses_come_back_complete(given_addr, proxy_addr, auth_addr):
    config = load_agent_config(None, {"MEZITE_PROXY_ADDR": given_addr})
    assert (config.proxy_addr, config.auth_addr) == (proxy_addr, auth_addr)


def test_everything_of_the_agent_from_the_environment():
    environ = {
        "MEZITE_PROXY_ADDR": "hub:3024",
        "MEZITE_AUTH_ADDR": "auth",
        "MEZITE_TLS_WRAP": "true",
        "MEZITE_JOIN_TOKEN": "mzt_abc." + "0" * 64,
        "MEZITE_CA_PIN": "0" * 64,
        "MEZITE_NODE_NAME": "web-1",
        "MEZITE_NODE_LABELS": "env=prod,team=platform",
        "MEZITE_DATA_DIR": "/data",
        "MEZITE_OUTER_CA_FILE": "/ca.pem",
    }
    config = load_agent_config(None, environ)
    assert config.auth_addr == "auth:3025"
    assert config.tls_wrap is True
    assert config.join_token is not None
    assert config.join_token.reveal() == environ["MEZITE_JOIN_TOKEN"]
    assert config.ca_pin == "sha256:" + "0" * 64
    assert dict(config.labels) == {"env": "prod", "team": "platform"}
    assert (config.node_name, config.data_dir, config.outer_ca_file) == ("web-1", "/data", "/ca.pem")


def test_the_agents_file(write):
    path = write("proxy_addr: hub\nlabels: {env: prod, tier: '1'}\njoin_token: a\njoin_token_file: b\n")
    with pytest.raises(
        ConfigProblems, match="4: join_token_file: has no effect beside join_token; keep one of them"
    ):
        load_agent_config(path, {})
    config = load_agent_config(write("proxy_addr: hub\nlabels: {env: prod, tier: 1}\n"), {})
    assert dict(config.labels) == {"env": "prod", "tier": "1"}


def test_public_address_in_parts():
    config = load_hub_config(None, {"MEZITE_PROXY_PUBLIC_ADDR": "mezite.example.com"})
    assert config.proxy.public_addr == HostPort("mezite.example.com")


@given(st.binary(max_size=200))
def test_any_bytes_are_a_configuration_or_problems(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_bytes(data)
    try:
        load_hub_config(path, {})
    except ConfigProblems as problems:
        assert all(problem.why for problem in problems.problems)


@given(
    st.dictionaries(
        st.sampled_from(["proxy", "auth", "log", "x", "database"]),
        st.recursive(
            st.text() | st.integers() | st.none() | st.booleans(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
            max_leaves=6,
        ),
    )
)
def test_any_tree_is_a_configuration_or_problems(tmp_path_factory, tree):
    import yaml

    path = tmp_path_factory.getbasetemp() / "tree.yaml"
    path.write_text(yaml.safe_dump(tree))
    try:
        load_hub_config(path, {})
    except ConfigProblems as problems:
        assert all(problem.why for problem in problems.problems)
