# SPDX-License-Identifier: Apache-2.0
"""The fields of a request as an application gets it, and of its response as the browser gets it.

One builder for everything that is forwarded, WebSockets too: a second one would forget what the first one strips
(threat D5). The order matters (threat D6): first goes what the client's `Connection` names and what is about its
connection; then every field that could be read as one of ours, in any spelling (threat D4); then ours are added, so
that nothing a client says can remove or double them; last comes what is said about the connection to the application.
"""

import re
from collections.abc import Collection, Iterable, Sequence
from itertools import chain
from typing import Final

import attrs

from .client_fields import connection_tokens, is_dropped, is_reserved, one_spelling, spelled

__all__ = [
    "Field",
    "FieldRules",
    "Framing",
    "Origins",
    "UpstreamRequest",
    "request_fields",
    "response_fields",
]

Field = tuple[bytes, bytes]

OWN_COOKIES: Final = (b"__host-mezite", b"__secure-mezite", b"mezite_")
"""How the names of the hub's cookies begin, in lower case."""

NEVER_FORWARDED: Final = frozenset(
    {
        "content-length",
        "expect",
        "host",
        "proxy",
        "cf-connecting-ip",
        "client-ip",
        "fastly-client-ip",
        "true-client-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "x-originating-ip",
        "x-remote-addr",
        "x-remote-ip",
    }
)
"""What is written anew; `Proxy`, which CGI programs take for their own setting (httpoxy); and the fields in which
other proxies name the client's address, which an application behind this one has no reason to believe (threat D7)."""

NOT_FOR_BROWSERS: Final = frozenset(
    {
        "alt-svc",
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-connection",
        "set-cookie2",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""About the connection to the application. `Alt-Svc` would lead browsers to another port, past the hub."""

FOR_SERVERS_IN_FRONT: Final = frozenset(
    {
        "x-accel-charset",
        "x-accel-expires",
        "x-accel-limit-rate",
        "x-accel-redirect",
        "x-lighttpd-send-file",
        "x-lighttpd-send-tempfile",
        "x-litespeed-location",
        "x-reproxy-expected-size",
        "x-reproxy-url",
        "x-sendfile",
        "x-sendfile2",
    }
)
"""Orders to the balancer in front of the hub, which takes the answer for the hub's own: `X-Accel-Redirect` makes nginx
send what it has for itself, `X-Accel-Expires` keep a user's page for all. `X-Accel-Buffering` is for streams."""

NOT_PASSED_BACK: Final = NOT_FOR_BROWSERS | FOR_SERVERS_IN_FRONT

NO_TOKEN = re.compile(rb"[^!#$%&'*+\-.^_`|~0-9A-Za-z]")
LINE_BREAKS = re.compile(rb"[\x00\r\n]")
PORT = re.compile(rb":[0-9]{1,5}\Z")


@attrs.frozen
class Framing:
    """How the body of a request is told."""

    content_length: int | None = None
    chunked: bool = False

    @property
    def has_body(self) -> bool:
        """Whether a byte may follow the head."""
        return self.chunked or bool(self.content_length)

    def fields(self) -> list[Field]:
        """Return the one field that says so, or none."""
        if self.chunked:
            return [(b"Transfer-Encoding", b"chunked")]
        return [] if self.content_length is None else [(b"Content-Length", b"%d" % self.content_length)]


@attrs.frozen
class FieldRules:
    """What one application has changed on the way; names in any case, an empty value removes a field but Host."""

    fields: tuple[tuple[str, str], ...] = ()

    def apply(self, fields: Iterable[Field], *, out_of_reach: Collection[str] = ()) -> list[Field]:
        """Replace, add and remove. No rule reaches a reserved name, nor those given here."""
        if not self.fields:
            return list(fields)
        rules = [
            (name, value)
            for name, value in self.fields
            if not is_reserved(name)
            and one_spelling(name) not in out_of_reach
            and (value or name.lower() != "host")
        ]
        ruled = {one_spelling(name) for name, _ in rules}
        kept = [field for field in fields if spelled(field[0]) not in ruled]
        return kept + [(name.encode("ascii"), value.encode("latin-1")) for name, value in rules if value]


NO_RULES: Final = FieldRules()


@attrs.frozen(kw_only=True)
class Origins:
    """Where an application thinks it is, and where it is for browsers."""

    internal: tuple[str, ...]
    """``http://10.0.3.12:3000`` and other spellings of the same, in lower case"""
    internal_host: str
    path: str
    """what stands before the path of each request; empty, or without a slash at its end"""
    public: str
    """``https://wiki.apps.example``"""

    def public_location(self, location: bytes) -> bytes:
        """The value of a Location for browsers; as it is, unless it names the internal address or path."""
        text = location.decode("latin-1")
        for origin in self.internal:
            if text[: len(origin)].lower() == origin and text[len(origin) : len(origin) + 1] in (
                "",
                "/",
                "?",
            ):
                return (self.public + self._public_path(text[len(origin) :])).encode("latin-1")
        stripped = self._public_path(text)
        # `/base//evil.example` is a path of the application's own; without its base it would lead to another host.
        leads_away = stripped != text and names_a_host(stripped)
        return (f"{self.public}{stripped}" if leads_away else stripped).encode("latin-1")

    def _public_path(self, rest: str) -> str:
        if self.path and rest.startswith(self.path) and rest[len(self.path) :][:1] in ("", "/", "?"):
            stripped = rest.removeprefix(self.path)
            return stripped if stripped.startswith("/") else f"/{stripped}"
        return rest


def names_a_host(location: str) -> bool:
    """Whether browsers take it for `//host/path`: they drop tabs, and read a backslash as a slash."""
    return location.replace("\t", "").replace("\\", "/").startswith("//")


@attrs.frozen(kw_only=True)
class UpstreamRequest:
    """What the hub itself knows of a request."""

    host: bytes
    """the Host field of the client; it has passed the gate"""
    public_name: str
    """by which the application is known, and nothing that the client sent (threat D7)"""
    client_ip: str
    """of the client itself: what it says of its own way here is dropped"""
    identity: Sequence[Field] = ()
    """who asks; every client copy of these names goes, in any spelling"""
    framing: Framing = Framing()
    expects_continue: bool = False
    upgrade: bool = False
    """for a WebSocket"""

    @property
    def public_host(self) -> bytes:
        """Name, and the port that the client used, which only the client knows behind balancers."""
        port = PORT.search(self.host)
        return self.public_name.encode("ascii") + (port[0] if port else b"")


def request_fields(
    client: Iterable[Field], request: UpstreamRequest, rules: FieldRules = NO_RULES
) -> list[Field]:
    """Return what is sent to the application.

    Raises ValueError for a field of ours that holds a line break: whoever made it has let a stranger write it.
    """
    ours = [
        *request.identity,
        (b"X-Forwarded-For", request.client_ip.encode("ascii")),
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Host", request.public_host),
    ]
    taken = NEVER_FORWARDED.union([spelled(name) for name, _ in ours])
    host, passed = (b"Host", request.public_host), from_client(client, taken)
    # Of what is written here a rule may change the Host only.
    passed = rules.apply([host, *passed], out_of_reach=taken - {"host"})
    fields = [*passed, *ours, *request.framing.fields(), *connection_fields(request)]
    if LINE_BREAKS.search(b"".join(chain.from_iterable(fields))):
        broken = [name for name, value in fields if LINE_BREAKS.search(name + value)]
        raise ValueError(f"the value of {broken[0]!r} has a line break")
    return fields


def from_client(client: Iterable[Field], taken: Collection[str]) -> list[Field]:
    client = list(client)
    named = connection_tokens(client)
    passed: list[Field] = []
    cookies: list[bytes] = []
    for name, value in client:
        plain = name.lower()
        if plain in named or is_dropped(name) or spelled(name) in taken:
            continue
        if plain == b"cookie":
            cookies.append(value)
        else:
            passed.append((name, value))
    # One field, as RFC 6265 has it: two are read differently.
    if cookie := without_own_cookies(b"; ".join(cookies)):
        passed.append((b"Cookie", cookie))
    return passed


def without_own_cookies(value: bytes) -> bytes:
    pairs = (pair.strip(b" \t") for pair in value.split(b";"))
    return b"; ".join(pair for pair in pairs if pair and not is_own_cookie(pair))


def is_own_cookie(pair: bytes) -> bool:
    """Whether anybody could take it for one of the hub's.

    Some readers strip white space of other alphabets, and a cookie without a name whose value is `a=b` comes back as
    the cookie `a` (threat D17): so only the characters of names are looked at.
    """
    return NO_TOKEN.sub(b"", pair).lower().startswith(OWN_COOKIES)


def connection_fields(request: UpstreamRequest) -> list[Field]:
    fields = [(b"Expect", b"100-continue")] if request.expects_continue else []
    if request.upgrade:
        return [*fields, (b"Connection", b"Upgrade"), (b"Upgrade", b"websocket")]
    return [*fields, (b"Connection", b"keep-alive")]


def response_fields(
    fields: Iterable[Field],
    *,
    public_name: str,
    rules: FieldRules = NO_RULES,
    origins: Origins | None = None,
) -> list[Field]:
    """Return what the browser gets of an application's response (threat D16).

    An application speaks for its own host only. A cookie for a whole domain goes, except that of its own host, which
    is kept for that host alone; so does one with a name of the hub's, and an order to forget cookies, which browsers
    carry out for the hub and all applications below the same domain; and so do orders to a balancer. With `origins`,
    its own address in a Location, and as a cookie's domain, becomes the public one.
    """
    fields = list(fields)
    named = connection_tokens(fields)
    own_hosts = {"", public_name} if origins is None else {"", public_name, origins.internal_host}
    passed: list[Field] = []
    for name, value in fields:
        text = spelled(name)
        if name.lower() in named or text in NOT_PASSED_BACK or text.startswith(("x-mezite-", "mezite-")):
            continue
        if text == "set-cookie":
            cookie = own_host_cookie(value, own_hosts)
            if cookie is not None:
                passed.append((name, cookie))
        elif origins is not None and text in ("location", "content-location"):
            passed.append((name, origins.public_location(value)))
        elif text != "clear-site-data" or not clears_cookies(value):
            passed.append((name, value))
    return rules.apply(passed)


def own_host_cookie(value: bytes, own_hosts: Collection[str]) -> bytes | None:
    """The cookie without a Domain; None when it must not be set."""
    pair, *attributes = value.split(b";")
    if is_own_cookie(pair):
        return None
    kept = [pair]
    for attribute in attributes:
        name, _, domain = attribute.partition(b"=")
        if NO_TOKEN.sub(b"", name).lower() != b"domain":
            kept.append(attribute)
        elif domain.strip(b" \t").lower().removeprefix(b".").decode("latin-1") not in own_hosts:
            return None
    return b";".join(kept)


def clears_cookies(value: bytes) -> bool:
    lowered = value.lower()
    return b"cookie" in lowered or b"*" in lowered
