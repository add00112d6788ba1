# SPDX-License-Identifier: Apache-2.0
import pytest

from mezite.core.http1.browser_request import (
    PageOrigin,
    Preflight,
    is_for_a_page,
    leads_somewhere,
    preflight,
    socket_origin,
    who_asks,
)

OWN = b"https://grafana.apps.example.com"
WIKI = "https://wiki.apps.example.com"
EVIL = b"https://evil.apps.example.com"
LISTED = (WIKI,)


def fields(**given):
    return [(name.replace("_", "-").encode(), value) for name, value in given.items()]


NAVIGATION = fields(sec_fetch_mode=b"navigate", sec_fetch_dest=b"document")
PAGE = fields(accept=b"text/html,application/xhtml+xml,*/*;q=0.8")


@pytest.mark.parametrize(
    ("method", "given", "expected"),
    [
        (b"GET", NAVIGATION, True),
        (b"HEAD", NAVIGATION, True),
        (b"POST", NAVIGATION, False),
        (b"GET", fields(sec_fetch_mode=b"navigate"), True),
        (b"GET", fields(sec_fetch_mode=b"navigate", sec_fetch_dest=b"iframe"), False),
        (b"GET", [*fields(sec_fetch_mode=b"cors"), *PAGE], False),
        (b"GET", [*fields(sec_fetch_mode=b"same-origin", sec_fetch_dest=b"serviceworker"), *PAGE], False),
        # Browsers from before 2023 say what they accept.
        (b"GET", PAGE, True),
        (b"GET", [*PAGE, *fields(x_requested_with=b"XMLHttpRequest")], False),
        (b"GET", fields(accept=b"*/*"), False),
        (b"GET", fields(accept=b"application/json"), False),
        (b"GET", [], False),
        # Said twice, it is said by no browser.
        (b"GET", [*fields(sec_fetch_mode=b"navigate"), *fields(sec_fetch_mode=b"navigate")], False),
    ],
)
def test_what_leads_somewhere(method, given, expected):
    assert leads_somewhere(method, given) is expected


def test_what_a_person_looks_at():
    assert is_for_a_page(fields(sec_fetch_mode=b"navigate", sec_fetch_dest=b"iframe"))
    assert not is_for_a_page(fields(sec_fetch_mode=b"websocket"))


@pytest.mark.parametrize(
    ("method", "given", "expected"),
    [
        (b"POST", fields(sec_fetch_site=b"same-origin", origin=OWN), PageOrigin.OWN),
        # A page with Referrer-Policy: no-referrer posts to itself like this.
        (b"POST", fields(sec_fetch_site=b"same-origin", origin=b"null"), PageOrigin.OWN),
        (b"GET", fields(sec_fetch_site=b"none"), PageOrigin.OWN),
        (b"POST", fields(origin=OWN), PageOrigin.OWN),
        (b"POST", [], PageOrigin.OWN),
        (b"PUT", fields(sec_fetch_site=b"same-site", origin=WIKI.encode()), PageOrigin.LISTED),
        (b"GET", fields(sec_fetch_site=b"cross-site", sec_fetch_mode=b"navigate"), PageOrigin.OWN),
        (b"GET", fields(sec_fetch_site=b"same-site", sec_fetch_mode=b"navigate"), PageOrigin.OWN),
        # Threats D16, D21: a sibling's forms, scripts and images.
        (
            b"POST",
            fields(sec_fetch_site=b"same-site", sec_fetch_mode=b"navigate", origin=EVIL),
            PageOrigin.FOREIGN,
        ),
        (b"POST", fields(sec_fetch_site=b"same-site", sec_fetch_mode=b"navigate"), PageOrigin.FOREIGN),
        (b"POST", fields(origin=EVIL), PageOrigin.FOREIGN),
        (b"POST", fields(origin=b"null"), PageOrigin.FOREIGN),
        (
            b"GET",
            fields(sec_fetch_site=b"same-site", sec_fetch_mode=b"cors", origin=EVIL),
            PageOrigin.FOREIGN,
        ),
        (b"GET", fields(sec_fetch_site=b"same-site", sec_fetch_mode=b"no-cors"), PageOrigin.FOREIGN),
        (b"GET", fields(sec_fetch_site=b"cross-site"), PageOrigin.FOREIGN),
        (b"GET", fields(sec_fetch_site=b"same-site"), PageOrigin.FOREIGN),
        (b"GET", [*fields(origin=OWN), *fields(origin=EVIL)], PageOrigin.FOREIGN),
        (
            b"GET",
            [*fields(sec_fetch_site=b"same-origin"), *fields(sec_fetch_site=b"cross-site")],
            PageOrigin.FOREIGN,
        ),
    ],
)
def test_whose_page_asks(method, given, expected):
    assert who_asks(method, given, OWN, LISTED) is expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (fields(origin=OWN), PageOrigin.OWN),
        (fields(origin=WIKI.encode()), PageOrigin.LISTED),
        (fields(origin=EVIL), PageOrigin.FOREIGN),
        (fields(origin=b"null"), PageOrigin.FOREIGN),
        (fields(origin=OWN + b"."), PageOrigin.FOREIGN),
        (fields(origin=OWN.upper()), PageOrigin.FOREIGN),
        (fields(origin=b"http://grafana.apps.example.com"), PageOrigin.FOREIGN),
        ([], PageOrigin.FOREIGN),
        ([*fields(origin=OWN), *fields(origin=OWN)], PageOrigin.FOREIGN),
    ],
)
def test_whose_page_asks_for_a_websocket_d11(given, expected):
    assert socket_origin(given, OWN, LISTED) is expected


ASKING = {"origin": EVIL, "access_control_request_method": b"PUT"}


@pytest.mark.parametrize(
    ("method", "given", "expected"),
    [
        (b"OPTIONS", fields(**ASKING), Preflight(EVIL, b"PUT", b"")),
        (
            b"OPTIONS",
            fields(**ASKING, access_control_request_headers=b"content-type,x-a"),
            Preflight(EVIL, b"PUT", b"content-type,x-a"),
        ),
        (b"GET", fields(**ASKING), None),
        (b"OPTIONS", fields(origin=EVIL), None),
        (b"OPTIONS", fields(access_control_request_method=b"PUT"), None),
        (b"OPTIONS", fields(origin=EVIL, access_control_request_method=b"a\x00b"), None),
        (b"OPTIONS", fields(**ASKING, access_control_request_headers=b"a: b"), None),
        (
            b"OPTIONS",
            [
                *fields(**ASKING, access_control_request_headers=b"a"),
                *fields(access_control_request_headers=b"b"),
            ],
            None,
        ),
    ],
)
def test_preflights(method, given, expected):
    assert preflight(method, given) == expected
