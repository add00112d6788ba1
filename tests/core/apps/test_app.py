# SPDX-License-Identifier: Apache-2.0
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.apps.app import App, AppOptions, AppProtocol, InvalidAppError, check_origin

HTTP = {"name": "grafana", "uri": "http://10.0.3.12:3000", "public_addr": "grafana.apps.example.com"}
TCP = {"name": "redis", "uri": "tcp://redis:6379", "protocol": "tcp"}


def test_an_http_application() -> None:
    app = App(**HTTP, labels={"env": "prod"}, agent_hostnames=("node-1", "node-2"))
    assert app.protocol is AppProtocol.HTTP
    assert app.upstream.target == "10.0.3.12:3000"
    assert app.enabled
    assert app.options == AppOptions()


def test_a_tcp_application() -> None:
    app = App(**TCP)
    assert app.protocol is AppProtocol.TCP
    assert app.public_addr == ""
    assert app.upstream.target == "redis:6379"


@pytest.mark.parametrize(
    ("given_fields", "why"),
    [
        (HTTP | {"name": "Grafana"}, "application name"),
        (HTTP | {"uri": "grafana"}, "does not say how to speak"),
        (HTTP | {"labels": {"-": "x"}}, "not a label name"),
        (HTTP | {"protocol": "udp"}, "udp"),
        (HTTP | {"protocol": "tcp"}, "write a URI with tcp://, or --protocol=http"),
        (HTTP | {"uri": "tcp://a:1"}, "write a URI with http://, https:// or h2c://, or --protocol=tcp"),
        (HTTP | {"public_addr": ""}, "needs a public address"),
        (TCP | {"public_addr": "redis.apps.example.com"}, "has no public address"),
        (HTTP | {"agent_hostnames": ("a", "a")}, "named twice"),
        (HTTP | {"agent_hostnames": ("A",)}, "node name"),
        (HTTP | {"agent_hostnames": tuple(f"n{number}" for number in range(65))}, "at most 64"),
        (HTTP | {"options": AppOptions(ca_pem="x")}, "are for https:// only"),
        (HTTP | {"options": AppOptions(insecure_skip_verify=True)}, "are for https:// only"),
        (TCP | {"options": AppOptions(max_body=1)}, "for HTTP applications only"),
        (TCP | {"options": AppOptions(health_path="/")}, "health paths are for HTTP applications only"),
    ],
)
def test_what_cannot_be(given_fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        App(**given_fields)


@pytest.mark.parametrize("options", [{"ca_pem": "-----BEGIN"}, {"insecure_skip_verify": True}])
def test_options_of_tls(options: dict[str, Any]) -> None:
    app = App(**HTTP | {"uri": "https://wiki"}, options=AppOptions(**options))
    assert app.options != AppOptions()


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"cors_origins": ("*",)}, "every page"),
        ({"cors_origins": ("https://a/",)}, "not an origin"),
        ({"cors_origins": ("https://" + "a" * 300,)}, "not an origin"),
        ({"cors_origins": tuple(f"https://h{number}" for number in range(65))}, "at most 64"),
        ({"ca_pem": "x" * 70000}, "more than 65536"),
        ({"ca_pem": "x", "insecure_skip_verify": True}, "contradict"),
        ({"max_body": -1}, "less than 0"),
        ({"request_headers": {"X-A": "b"}}, "not a header name"),
        ({"request_headers": {"x_a": "b"}}, "not a header name"),
        ({"request_headers": {"x-mezite-user": "root"}}, "written by the hub"),
        ({"request_headers": {"transfer-encoding": ""}}, "written by the hub"),
        ({"response_headers": {"content-length": "1"}}, "written by the hub"),
        ({"response_headers": {"set-cookie": "a=b"}}, "written by the hub"),
        ({"request_headers": {"x-a": "b\r\nx-b: c"}}, "value for header x-a"),
        ({"response_headers": {"x-a": " b"}}, "value for header x-a"),
        ({"response_headers": {"x-a": "b" * 1025}}, "value for header x-a"),
        ({"response_headers": {f"x-{number}": "" for number in range(33)}}, "at most 32"),
    ],
)
def test_options_that_cannot_be(options: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidAppError, match=why):
        AppOptions(**options)


def test_rules_replace_and_remove() -> None:
    options = AppOptions(request_headers={"x-a": "", "x-b": "one value"}, response_headers={"server": "x"})
    assert options.request_headers == {"x-a": "", "x-b": "one value"}


@pytest.mark.parametrize(
    "origin", ["https://grafana.apps.example.com", "http://localhost:5173", "https://[::1]:8443", "https://a"]
)
def test_origins(origin: str) -> None:
    assert check_origin(origin) == origin


@pytest.mark.parametrize(
    "origin",
    ["", "null", "https://", "HTTPS://a", "https://A", "https://a:0", "https://a b", "https://u@a", "a"],
)
def test_no_origins(origin: str) -> None:
    with pytest.raises(InvalidAppError):
        check_origin(origin)


@given(st.text(max_size=60))
def test_a_rule_never_holds_a_line_break(value: str) -> None:
    try:
        options = AppOptions(request_headers={"x-a": value})
    except InvalidAppError:
        return
    assert all(" " <= character <= "~" for character in options.request_headers["x-a"])


@pytest.mark.parametrize(
    ("options", "seconds"),
    [({}, 0), ({"health_path": "/"}, 30), ({"health_interval": 5}, 5)],
)
def test_how_often_health_is_checked(options: dict[str, Any], seconds: int) -> None:
    assert AppOptions(**options).health_seconds == seconds
    assert App(**HTTP, options=AppOptions(**options)).options.health_seconds == seconds


def test_a_connection_to_a_tcp_application_is_a_check() -> None:
    assert App(**TCP, options=AppOptions(health_interval=5)).options.health_seconds == 5


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"health_path": "healthz"}, "begin with /"),
        ({"health_path": "/a b"}, "without spaces and #"),
        ({"health_path": "/a#b"}, "without spaces and #"),
        ({"health_path": "/\r\nX: y"}, "is not a path"),
        ({"health_path": "/" + "a" * 1024}, "is not a path"),
        ({"health_interval": -1}, "choose from 1s to 1h"),
        ({"health_interval": 3601}, "choose from 1s to 1h"),
    ],
)
def test_health_that_cannot_be_checked(options: dict[str, Any], why: str) -> None:
    with pytest.raises(InvalidAppError, match=why):
        AppOptions(**options)
