# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.http1.host_table import HostKind, HostTable, host_name

TABLE = HostTable(
    names=frozenset({"mezite.example.com", "localhost", "*.localhost", "hub.apps.example.com"}),
    apps_domain="apps.example.com",
)


@pytest.mark.parametrize(
    "host",
    [
        b"mezite.example.com",
        b"MEZITE.Example.com",
        b"mezite.example.com.",
        b"mezite.example.com:443",
        b"mezite.example.com.:3080",
        b"localhost:3080",
        b"demo.localhost",
        b"hub.apps.example.com",
        b"192.0.2.7",
        b"192.0.2.7:80",
        b"[2001:db8::7]",
        b"[::1]:3080",
        b"",
    ],
)
def test_the_hubs_own(host: bytes) -> None:
    assert TABLE.look_up(host) is HostKind.HUB


@pytest.mark.parametrize(
    "host", [b"grafana.apps.example.com", b"Grafana.Apps.Example.com.:443", b"a.b.apps.example.com"]
)
def test_applications(host: bytes) -> None:
    assert TABLE.look_up(host) is HostKind.APPLICATION


@pytest.mark.parametrize(
    "host",
    [
        b"example.com",
        b"apps.example.com",
        b"evilapps.example.com",
        b"grafana.apps.example.com.evil.example",
        b"mezite.example.com..",
        b"a.b.localhost",
        b".localhost.evil",
        b"192.0.2.256",
        b"192.0.2.07",
        b"0x7f.1",
        b"2130706433",
        b"[fe80::1::2]",
        b".",
        b"-",
    ],
)
def test_nobodys(host: bytes) -> None:
    """D7: a name that was not configured is not ours, whatever it resolves to."""
    assert TABLE.look_up(host) is HostKind.OTHER


def test_without_an_applications_domain_there_are_none() -> None:
    table = HostTable(names=frozenset({"localhost"}))
    assert table.look_up(b"grafana.apps.example.com") is HostKind.OTHER


@given(st.from_regex(rb"[A-Za-z0-9._-]{1,40}(:[0-9]{1,5})?", fullmatch=True))
def test_case_and_port_make_no_difference(host: bytes) -> None:
    assert TABLE.look_up(host.upper()) is TABLE.look_up(host.lower()) is TABLE.look_up(host)
    assert host_name(host) == host_name(host.upper())
