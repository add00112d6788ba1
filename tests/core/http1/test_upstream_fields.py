# SPDX-License-Identifier: Apache-2.0
from itertools import product

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.http1.client_fields import one_spelling
from mezite.core.http1.upstream_fields import (
    Field,
    FieldRules,
    Framing,
    Origins,
    UpstreamRequest,
    request_fields,
    response_fields,
)

IDENTITY = [
    (b"Mezite-Jwt-Assertion", b"eyJ.e30.sig"),
    (b"X-Mezite-User", b"ada"),
    (b"X-Mezite-Roles", b"dev,ops"),
    (b"traceparent", b"00-1-2-01"),
]
OURS = {
    "mezite-jwt-assertion": b"eyJ.e30.sig",
    "x-mezite-user": b"ada",
    "x-mezite-roles": b"dev,ops",
    "traceparent": b"00-1-2-01",
    "x-forwarded-for": b"203.0.113.9",
    "x-forwarded-proto": b"https",
    "x-forwarded-host": b"wiki.apps.example",
    "connection": b"keep-alive",
}
ABOUT_WAYS = {
    "forwarded",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-real-ip",
    "http2-settings",
    "true-client-ip",
}


def sent(
    *client: Field, rules: FieldRules | None = None, host: bytes = b"wiki.apps.example", **known: object
) -> list[Field]:
    request = UpstreamRequest(
        host=host,
        public_name="wiki.apps.example",
        client_ip="203.0.113.9",
        identity=IDENTITY,
        **known,  # type: ignore[arg-type]
    )
    return request_fields(client, request, rules or FieldRules())


def values(fields: list[Field], name: str) -> list[bytes]:
    return [value for key, value in fields if one_spelling(key.decode("latin-1")) == name]


def check_ours(fields: list[Field]) -> None:
    """The backend, however it reads names, sees exactly one value of each of ours."""
    for name, value in OURS.items():
        assert values(fields, name) == [value]
    for name in ABOUT_WAYS:
        assert values(fields, name) == []


# -- the request


def test_all_of_a_request() -> None:
    fields = sent((b"accept", b"*/*"), (b"cookie", b"theme=dark"), (b"accept-encoding", b"gzip, br"))
    assert fields == [
        (b"Host", b"wiki.apps.example"),
        (b"accept", b"*/*"),
        (b"accept-encoding", b"gzip, br"),
        (b"Cookie", b"theme=dark"),
        *IDENTITY,
        (b"X-Forwarded-For", b"203.0.113.9"),
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Host", b"wiki.apps.example"),
        (b"Connection", b"keep-alive"),
    ]


@st.composite
def hostile_names(draw: st.DrawFn) -> bytes:
    name = draw(st.sampled_from([*OURS, *ABOUT_WAYS, "host", "content-length", "expect", "proxy", "x-own"]))
    letters = [
        draw(st.sampled_from("-_.")) if letter == "-" else draw(st.sampled_from([letter, letter.upper()]))
        for letter in name
    ]
    return "".join(letters).encode("ascii")


@given(st.lists(st.tuples(hostile_names(), st.sampled_from([b"mallory", b"", b"1", b"close"])), max_size=12))
def test_one_value_of_each_of_ours_whatever_comes(client: list[Field]) -> None:
    """D4, D5, D7: no spelling of a client's copy arrives."""
    fields = sent(*client)
    check_ours(fields)
    assert values(fields, "host") == [b"wiki.apps.example"]
    assert values(fields, "content-length") == values(fields, "expect") == values(fields, "proxy") == []


@given(st.lists(hostile_names(), max_size=4), st.sampled_from([b"Connection", b"connection", b"CONNECTION"]))
def test_the_clients_connection_removes_none_of_ours(names: list[bytes], connection: bytes) -> None:
    """D6: its tokens are taken off before ours are added."""
    copies = [(name, b"mallory") for name in names]
    check_ours(sent((connection, b", ".join(names)), *copies))


def test_hop_by_hop_by_the_clients_tokens() -> None:
    fields = sent((b"connection", b"X-Hop, cookie"), (b"x-hop", b"1"), (b"cookie", b"a=b"), (b"x-on", b"2"))
    assert values(fields, "x-hop") == values(fields, "cookie") == []
    assert values(fields, "x-on") == [b"2"]


@pytest.mark.parametrize("name", ["__Host-mezite_app", "__host-MEZITE_app_state", "mezite_session"])
@pytest.mark.parametrize(
    "around", ["{}=s3cret", "  {} = s3cret ", "={}=s3cret", "\xa0{}=s3cret", "\x85{}=s3cret"]
)
def test_our_cookies_stay_here(name: str, around: str) -> None:
    """D17, D18: in whatever form a backend might read them."""
    own = around.format(name).encode("latin-1")
    fields = sent(
        (b"cookie", b"a=1; " + own + b";b=2"), (b"cookie", own), (b"cookie", b"c=__Host-mezite_app")
    )
    assert values(fields, "cookie") == [b"a=1; b=2; c=__Host-mezite_app"]
    assert values(sent((b"cookie", own)), "cookie") == []


@pytest.mark.parametrize(
    ("framing", "expected"),
    [
        (Framing(), []),
        (Framing(content_length=0), [(b"Content-Length", b"0")]),
        (Framing(content_length=12), [(b"Content-Length", b"12")]),
        (Framing(chunked=True), [(b"Transfer-Encoding", b"chunked")]),
    ],
)
def test_the_body_is_told_once(framing: Framing, expected: list[Field]) -> None:
    """D1: never what the client wrote."""
    fields = sent(
        (b"content-length", b"7"), (b"transfer-encoding", b"x"), (b"content.length", b"8"), framing=framing
    )
    told = [field for field in fields if field[0].lower() in (b"content-length", b"transfer-encoding")]
    assert told == expected
    assert framing.has_body == (expected not in ([], [(b"Content-Length", b"0")]))


def test_a_websocket_and_an_expectation() -> None:
    fields = sent((b"upgrade", b"h2c"), (b"connection", b"upgrade, http2-settings"), upgrade=True)
    assert values(fields, "upgrade") == [b"websocket"]
    assert values(fields, "connection") == [b"Upgrade"]
    assert values(sent((b"expect", b"200-ok"), expects_continue=True), "expect") == [b"100-continue"]


@pytest.mark.parametrize("port", [b"", b":3080"])
def test_the_host_is_the_applications_with_the_clients_port(port: bytes) -> None:
    """D7: not what the client wrote."""
    fields = sent(host=b"WIKI.apps.example." + port)
    assert values(fields, "host") == values(fields, "x-forwarded-host") == [b"wiki.apps.example" + port]


def test_rules_of_an_application() -> None:
    rules = FieldRules(
        (("X-Own", "1"), ("Origin", ""), ("hOst", "inner"), ("X-Mezite-User", "root"), ("Traceparent", "x"))
    )
    fields = sent((b"x.own", b"2"), (b"origin", b"https://x"), (b"x-mine", b"3"), rules=rules)
    check_ours(fields)
    assert values(fields, "x-own") == [b"1"]
    assert values(fields, "origin") == []
    assert values(fields, "host") == [b"inner"]
    assert values(fields, "x-mine") == [b"3"]
    assert values(sent(rules=FieldRules((("Host", ""),))), "host") == [b"wiki.apps.example"]


@pytest.mark.parametrize("field", [(b"X-A", b"a\r\nX-B: c"), (b"X-A\n", b"a"), (b"X-A", b"\x00")])
def test_a_field_of_ours_has_no_line_break(field: Field) -> None:
    request = UpstreamRequest(host=b"h", public_name="h", client_ip="::1", identity=[field])
    with pytest.raises(ValueError, match="line break"):
        request_fields([], request)


# -- the response


def received(*fields: Field, rules: FieldRules | None = None) -> list[Field]:
    return response_fields(fields, public_name="wiki.apps.example", rules=rules or FieldRules())


def test_what_is_about_the_connection_ends_here() -> None:
    dropped = [
        (b"Connection", b"close, X-Hop"),
        (b"X-Hop", b"1"),
        (b"Keep-Alive", b"timeout=5"),
        (b"Transfer-Encoding", b"chunked"),
        (b"Trailer", b"X-T"),
        (b"Upgrade", b"h2"),
        (b"Alt-Svc", b'h3=":444"'),
        (b"X-Mezite-User", b"root"),
        (b"mezite.x", b"1"),
    ]
    kept = [
        (b"Content-Type", b"text/html"),
        (b"Content-Encoding", b"gzip"),
        (b"x_own", b"1"),
        (b"Vary", b"a"),
    ]
    assert received(*dropped, *kept) == kept


@pytest.mark.parametrize(
    ("cookie", "expected"),
    [
        (b"a=b; Path=/; HttpOnly", b"a=b; Path=/; HttpOnly"),
        (b"a=b; Domain=wiki.apps.example; Path=/", b"a=b; Path=/"),
        (b"a=b; domain = .WIKI.apps.example", b"a=b"),
        (b"a=b; Domain=; Path=/", b"a=b; Path=/"),
        (b"a=b; Domain", b"a=b"),
        (b"a=domain=x", b"a=domain=x"),
        (b"a=b; Domain=apps.example", None),
        (b"a=b;DOMAIN=.apps.example;Secure", None),
        (b"a=b; \xa0Domain=apps.example", None),
        (b"a=b; Domain=wiki.apps.example; Domain=apps.example", None),
        (b"__Host-mezite_app=evil; Secure; Path=/", None),
        (b"=__HOST-mezite_app=evil", None),
        (b" __Host-mezite_state =evil", None),
        (b"mezite_session=evil", None),
    ],
)
def test_cookies_of_an_application_are_its_own(cookie: bytes, expected: bytes | None) -> None:
    """D16, D17."""
    assert received((b"Set-Cookie", cookie)) == ([] if expected is None else [(b"Set-Cookie", expected)])


@pytest.mark.parametrize("value", [b'"cookies"', b'"cache", "Cookies"', b'"*"'])
def test_nobody_forgets_cookies_for_an_application(value: bytes) -> None:
    """D16: browsers would forget those of the hub, too."""
    assert received((b"Clear-Site-Data", value)) == []
    assert received((b"Clear-Site-Data", b'"cache"')) == [(b"Clear-Site-Data", b'"cache"')]


def test_rules_of_an_application_for_its_responses() -> None:
    rules = FieldRules((("X-Frame-Options", ""), ("Cache-Control", "no-store")))
    assert received((b"x-frame-options", b"DENY"), (b"etag", b"1"), rules=rules) == [
        (b"etag", b"1"),
        (b"Cache-Control", b"no-store"),
    ]


@pytest.mark.parametrize("separators", list(product("-_.", repeat=2)))
def test_the_names_of_ours_are_not_the_applications_to_say(separators: tuple[str, str]) -> None:
    name = "X{}Mezite{}User".format(*separators).encode()
    assert received((name, b"root")) == []


ORIGINS = Origins(
    internal=("http://10.0.3.12", "http://10.0.3.12:80"),
    internal_host="10.0.3.12",
    path="/base",
    public="https://wiki.apps.example",
)


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        (b"http://10.0.3.12/base/a?b", b"https://wiki.apps.example/a?b"),
        (b"HTTP://10.0.3.12:80/base", b"https://wiki.apps.example/"),
        (b"http://10.0.3.12", b"https://wiki.apps.example"),
        (b"http://10.0.3.12/other", b"https://wiki.apps.example/other"),
        (b"/base?x", b"/?x"),
        (b"/base/x", b"/x"),
        (b"/basement", b"/basement"),
        # A path of the application's own stays one: browsers drop tabs, and read a backslash as a slash.
        (b"/base//evil.example/a", b"https://wiki.apps.example//evil.example/a"),
        (b"/base/\\evil.example", b"https://wiki.apps.example/\\evil.example"),
        (b"/base/\t/evil.example", b"https://wiki.apps.example/\t/evil.example"),
        (b"/base/a//b", b"/a//b"),
        (b"//elsewhere.example/base", b"//elsewhere.example/base"),
        (b"http://10.0.3.120/", b"http://10.0.3.120/"),
        (b"http://10.0.3.12:8080/", b"http://10.0.3.12:8080/"),
        (b"https://login.example/?next=http://10.0.3.12/", b"https://login.example/?next=http://10.0.3.12/"),
    ],
)
@pytest.mark.parametrize("name", [b"Location", b"content-location"])
def test_locations_become_public_where_asked(name: bytes, location: bytes, expected: bytes) -> None:
    assert response_fields([(name, location)], public_name="wiki.apps.example", origins=ORIGINS) == [
        (name, expected)
    ]
    assert received((name, location)) == [(name, location)]


def test_cookies_of_the_internal_host_become_public_where_asked() -> None:
    cookie = (b"set-cookie", b"a=b; Domain=10.0.3.12; Path=/")
    assert response_fields([cookie], public_name="wiki.apps.example", origins=ORIGINS) == [
        (b"set-cookie", b"a=b; Path=/")
    ]
    assert received(cookie) == []


def test_a_path_only_where_there_is_one() -> None:
    assert attrs.evolve(ORIGINS, path="").public_location(b"/base/a") == b"/base/a"


@pytest.mark.parametrize(
    "name", ["X-Accel-Redirect", "x_accel_redirect", "X-Accel-Expires", "X-Sendfile", "X-Lighttpd-Send-File"]
)
def test_no_orders_to_a_balancer(name: str) -> None:
    """Threat D16: nginx in front of the hub would send files of its own in the application's name."""
    assert received((name.encode(), b"/internal/file"), (b"X-Accel-Buffering", b"no")) == [
        (b"X-Accel-Buffering", b"no")
    ]
