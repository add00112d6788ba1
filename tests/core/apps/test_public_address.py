# SPDX-License-Identifier: Apache-2.0
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.apps.public_address import InvalidPublicAddressError, check_public_address, covers
from mezite.core.http1.host_table import HostKind, HostTable

DOMAIN = "apps.example.com"


def check(text: str, *certificate_names: str) -> str:
    return check_public_address(
        text, apps_domain=DOMAIN, certificate_names=certificate_names, taken=[f"hub.{DOMAIN}"]
    )


@pytest.mark.parametrize("name", ["grafana", "a", "0", "a-b", "a--b", "x" * 63])
def test_one_name_below_the_domain(name: str) -> None:
    assert check(f"{name}.{DOMAIN}") == f"{name}.{DOMAIN}"


def test_below_a_domain_of_one_name() -> None:
    assert check_public_address("grafana.localhost", apps_domain="localhost") == "grafana.localhost"


@pytest.mark.parametrize("certificate_name", [f"a.b.{DOMAIN}", f"*.b.{DOMAIN}"])
def test_a_deeper_name_that_a_certificate_covers(certificate_name: str) -> None:
    assert check(f"a.b.{DOMAIN}", certificate_name) == f"a.b.{DOMAIN}"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        (DOMAIN, "the apps domain itself"),
        ("grafana.example.com", f"use grafana.{DOMAIN}"),
        ("grafana", f"use grafana.{DOMAIN}"),
        (".", "ends in a dot"),
        ("-.example.com", f"use NAME.{DOMAIN}"),
        ("grafanaapps.example.com", "is not below"),
        (f"grafana.{DOMAIN}.evil.example", "is not below"),
        ("evilapps.example.com", "is not below"),
        (f"grafana.{DOMAIN}:443", f"use grafana.{DOMAIN}"),
        (f"grafana.{DOMAIN}:", "names a port"),
        (f"https://grafana.{DOMAIN}/x", f"the host name only, grafana.{DOMAIN}$"),
        ("https://", "URL"),
        (f"grafana.{DOMAIN}/path", "holds a '/'"),
        (f"grafana.{DOMAIN}?q", "holds a '\\?'"),
        (f"grafana.{DOMAIN}#f", "holds a '#'"),
        (f"grafana\\.{DOMAIN}", "which no host name does"),
        (f"user@grafana.{DOMAIN}", "holds a '@'"),
        (f"graf%61na.{DOMAIN}", "holds a '%'"),
        (f"*.{DOMAIN}", "wildcard"),
        (f"*grafana.{DOMAIN}", "wildcard"),
        (f"grafana.{DOMAIN}.", f"use grafana.{DOMAIN}$"),
        (f"Grafana.{DOMAIN}", f"use grafana.{DOMAIN}"),
        (f"graf_ana.{DOMAIN}", f"use graf-ana.{DOMAIN}"),
        (f"gr\u00e4fana.{DOMAIN}", "beyond ASCII"),
        (f"grafana\uff0e{DOMAIN}", "beyond ASCII"),
        (f"grafana\u3002{DOMAIN}", "beyond ASCII"),
        (f"grafan\u0430.{DOMAIN}", "beyond ASCII"),
        (f"\u212agrafana.{DOMAIN}", "beyond ASCII"),
        (f"xn--grfana-bua.{DOMAIN}", "may show as another name"),
        (f"ab--c.{DOMAIN}", "may show as another name"),
        (f" grafana.{DOMAIN}", "space or control"),
        (f"grafana.{DOMAIN}\n", "space or control"),
        (f"grafana\x00.{DOMAIN}", "space or control"),
        (f"grafana\x7f.{DOMAIN}", "space or control"),
        ("10.0.0.1", "IP address"),
        ("::1", "IP address"),
        ("[::1]", "IP address"),
        (f".{DOMAIN}", "empty part"),
        (f"a..{DOMAIN}", "empty part"),
        (f"-a.{DOMAIN}", "the part '-a'"),
        (f"a-.{DOMAIN}", "the part 'a-'"),
        (f"{'a' * 64}.{DOMAIN}", "63 at most"),
        (".".join(["a" * 60] * 5) + f".{DOMAIN}", "at most 253"),
        (f"hub.{DOMAIN}", "the hub itself"),
        (f"a.b.{DOMAIN}", f"no certificate of this hub covers it: use a-b.{DOMAIN}"),
    ],
)
def test_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(InvalidPublicAddressError, match=why):
        check(text)


def test_a_wildcard_is_one_name() -> None:
    assert covers({f"*.{DOMAIN}"}, f"grafana.{DOMAIN}")
    assert not covers({f"*.{DOMAIN}"}, f"a.b.{DOMAIN}")
    assert not covers({"*."}, "grafana")
    assert covers({"grafana"}, "grafana")
    with pytest.raises(InvalidPublicAddressError):
        check(f"a.b.{DOMAIN}", f"*.{DOMAIN}")


PIECES = st.sampled_from(
    ["a", "-", ".", f".{DOMAIN}", DOMAIN, ":1", "A", "_", "*", "xn--", "\u3002", "hub", " "]
)


@given(st.one_of(st.text(max_size=30), st.lists(PIECES, max_size=6).map("".join)))
def test_whatever_is_taken_is_routed_as_it_is_written(text: str) -> None:
    """Taken unchanged or refused; what is taken is an application's host for whoever routes requests."""
    try:
        host = check(text)
    except InvalidPublicAddressError as refusal:
        assert "\n" not in str(refusal)
        assert len(str(refusal)) < 600
        return
    assert host == text
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?\.apps\.example\.com", host)
    table = HostTable(names=frozenset({f"hub.{DOMAIN}"}), apps_domain=DOMAIN)
    assert table.look_up(host.encode()) is HostKind.APPLICATION
