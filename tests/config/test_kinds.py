# SPDX-License-Identifier: Apache-2.0
"""Each kind of value: what is taken, what is refused, what is advised."""

from ipaddress import ip_network

import pytest

from mezite.config import kinds
from mezite.config.kinds import HostPort, ListenAddress
from mezite.config.problems import BadValue
from mezite.config.yaml_document import read_document


def node(text):
    document, problems = read_document(f"key: {text}\n".encode(), "f")
    assert not problems
    return document.entries["key"].node


def refusal(kind, text):
    with pytest.raises(BadValue) as caught:
        kind.read(node(text))
    return f"{caught.value.why}; {caught.value.hint}" if caught.value.hint else caught.value.why


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("0.0.0.0:3080", "0.0.0.0", 3080),
        ("'[::]:1'", "::", 1),
        (":0", "", 0),
        ("localhost:65535", "localhost", 65535),
    ],
)
def test_listen_addresses(text, host, port):
    assert kinds.LISTEN_ADDRESS.read(node(text)) == ListenAddress(host, port)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("'::1:80'", "'::1:80' is not an address; an IPv6 address stands in brackets, as in [::]:3080"),
        ("a b:80", "'a b' is not a host name or address; for example 0.0.0.0:3080"),
        ("host:65536", "port 65536 is above 65535"),
        ("host:123456", "'host:123456' is not an address; for example 0.0.0.0:3080"),
        ("host", "'host' has no port; write host:port, for example 0.0.0.0:3080"),
        ("'[::zz]:80'", "'[::zz]:80' is not an address; an IPv6 address stands in brackets, as in [::]:3080"),
        ("'[1:2]:80'", "'1:2' is not an IPv6 address"),
        ("[a]", "expected an address such as 0.0.0.0:3080, found a list"),
        ("{a: b}", "expected an address such as 0.0.0.0:3080, found nested keys"),
    ],
)
def test_bad_listen_addresses(text, why):
    assert refusal(kinds.LISTEN_ADDRESS, text) == why


def test_addresses_are_shown_as_they_are_written():
    assert str(ListenAddress("::", 80)) == "[::]:80"
    assert str(ListenAddress("h", 80)) == "h:80"
    assert str(HostPort("::1")) == "[::1]"
    assert str(HostPort("h", 1)) == "h:1"
    assert HostPort("h", 1).with_port(2) == HostPort("h", 1)
    assert HostPort("h").with_port(2) == HostPort("h", 2)


@pytest.mark.parametrize(
    ("text", "why"), [("':80'", "has no host name"), ("h:0", "port 0 cannot be dialled")]
)
def test_addresses_to_dial_name_a_host_and_a_port(text, why):
    assert refusal(kinds.HOST_PORT, text).startswith(why)


@pytest.mark.parametrize(
    ("text", "why"), [("http://h", "http:// is not a transport"), ("https://", "has no host name")]
)
def test_bad_proxy_addresses(text, why):
    assert refusal(kinds.PROXY_ADDRESS, text).startswith(why)


@pytest.mark.parametrize(
    ("text", "networks"),
    [
        ("[10.0.0.0/8, 'fd00::/8']", ["10.0.0.0/8", "fd00::/8"]),
        ("[]", []),
        ("['::ffff:10.0.0.0/104']", ["10.0.0.0/8"]),
        ("['::ffff:0:0/96']", ["0.0.0.0/0"]),
        ("['2001:db8::/100']", ["2001:db8::/100"]),
    ],
)
def test_cidrs(text, networks):
    """C1: IPv4 in IPv6 form is the IPv4 network."""
    assert kinds.CIDRS.read(node(text)) == tuple(ip_network(network) for network in networks)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[10.0.0.1/8]", "'10.0.0.1/8' has bits set behind the prefix; write 10.0.0.0/8"),
        ("[10.0.0.1]", "'10.0.0.1' is not a CIDR; for one address write 10.0.0.1/32"),
        ("['::1']", "'::1' is not a CIDR; for one address write ::1/128"),
        ("[any]", "'any' is not a CIDR; for example 10.0.0.0/8 or fd00::/8"),
        ("['fe80::1%eth0/64']", "'fe80::1%eth0/64' has bits set behind the prefix"),
        ("[10.0.0.0/33]", "'10.0.0.0/33' is not a CIDR"),
        ("10.0.0.0/8", "expected a list of CIDRs; write [item, item]"),
    ],
)
def test_bad_cidrs(text, why):
    """P20: no zone ids, no host bits, no lenient forms."""
    assert refusal(kinds.CIDRS, text).startswith(why)


@pytest.mark.parametrize("word", ["true", "yes", "on", "1", "True", "'true'"])
def test_true(word):
    assert kinds.BOOLEAN.read(node(word)) is True


@pytest.mark.parametrize("word", ["false", "no", "off", "0", "FALSE"])
def test_false(word):
    assert kinds.BOOLEAN.read(node(word)) is False


def test_neither_true_nor_false():
    assert refusal(kinds.BOOLEAN, "perhaps") == "expected true or false, found 'perhaps'"
    assert refusal(kinds.BOOLEAN, "[a]") == "expected true or false, found a list"


def test_text_is_text():
    assert kinds.TEXT.read(node("'1'")) == "1"
    assert refusal(kinds.TEXT, "1") == "expected text, found a number (1); put it in quotes"
    assert refusal(kinds.TEXT, "yes") == "expected text, found a switch (yes); put it in quotes"
    assert refusal(kinds.TEXT, "''") == "is empty; leave the key out for the default"
    assert refusal(kinds.TEXT, "{a: 1}") == "expected text, found nested keys"
    assert refusal(kinds.TEXT, "[a]") == "expected text, found a list"
    assert refusal(kinds.TEXT, r'"a\eb"') == "expected text, found a control character"


@pytest.mark.parametrize("text", ["0x10", "1_000", "1.5", "ten", "+5", "'٣'"])
def test_whole_numbers_have_one_form(text):
    """P20."""
    assert refusal(kinds.integer(1, 10, "things"), text).startswith("expected a whole number")


def test_numbers_have_a_range():
    assert kinds.integer(1, 10, "things").read(node("10")) == 10
    assert refusal(kinds.integer(1, 10, "things"), "11") == "11 is not between 1 and 10 (things)"


def test_names_and_headers():
    assert kinds.CLUSTER_NAME.read(node("prod.example")) == "prod.example"
    assert "not allowed" in refusal(kinds.CLUSTER_NAME, "Prod")
    assert "not allowed" in refusal(kinds.NODE_NAME, "web 1")
    assert kinds.HEADER_NAME.read(node("X-Real-IP")) == "X-Real-IP"
    assert refusal(kinds.HEADER_NAME, "'X-A: b'").startswith("'X-A: b' is not a header name")


def test_pins():
    assert kinds.CA_PIN.read(node("sha256:" + "a" * 64)) == "sha256:" + "a" * 64
    for bad in ("sha256:" + "A" * 64, "a" * 63, "sha1:" + "a" * 40):
        assert refusal(kinds.CA_PIN, bad) == "is not sha256: and 64 hex digits; copy it from `mezhub ca-pin`"


def test_labels():
    assert kinds.LABELS.read(node("{env: prod}")) == {"env": "prod"}
    assert kinds.LABELS.read(node("env=prod,a=b")) == {"env": "prod", "a": "b"}
    assert refusal(kinds.LABELS, "{env: [a]}") == "expected text, found a list"
    assert "write key: value pairs" in refusal(kinds.LABELS, "{'bad key!': a}")


def test_domains():
    assert kinds.DOMAIN.read(node("Apps.Example.COM")) == "apps.example.com"
    assert refusal(kinds.DOMAIN, "apps.example.com:443").startswith("is not a domain")
    assert refusal(kinds.DOMAIN, "'[::1]'").startswith("is not a domain")


def test_choices_and_durations():
    assert kinds.choice("on", "off").read(node("off")) == "off"
    assert kinds.DURATION.read(node("1h30m")) == 5400
    assert refusal(kinds.DURATION, "[1h]") == "expected a duration, found a list"
