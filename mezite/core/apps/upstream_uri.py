# SPDX-License-Identifier: Apache-2.0
"""Where an application is, as its agents reach it: a closed grammar, so that nobody reads it differently (threat D2).

The text is the audience of the application's assertions (contract section 5), compared byte by byte by backends. So
each address has one spelling, and a text that has another is refused with the right one rather than rewritten.
"""

import enum
import ipaddress
import re

import attrs

__all__ = ["InvalidUpstreamUriError", "UpstreamScheme", "UpstreamUri", "parse_upstream_uri"]

MAX_URI = 512
"""Characters. It stands in every assertion, which is 1.5 KB at most."""

LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
HOST = re.compile(rf"{LABEL}(?:\.{LABEL})*", re.ASCII)
"""DNS names as container networks hand them out, hence ``_``."""

ADDRESS_LIKE = re.compile(r"(?:[^.]*\.)*(?:[0-9]+|0x[0-9a-f]*)", re.ASCII)
"""Ends as a number does: some programs read ``0x7f.1`` as 127.0.0.1 and others look it up."""

PORT = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)

MAX_PORT = 65535

PATH = re.compile(r"(?:/[A-Za-z0-9._~@:,=+-]+)*/?", re.ASCII)
"""Plain segments: no escapes, no empty ones, nothing that a server could take for something else (threat D8)."""

MAX_HOST = 253


class InvalidUpstreamUriError(ValueError):
    """Not an address of an application; the message says why and what would be one."""


class UpstreamScheme(enum.StrEnum):
    """How a hub speaks with an application."""

    HTTP = "http"
    """HTTP/1.1 in the clear."""
    HTTPS = "https"
    """TLS from hub to application, through the agent; HTTP/1.1 or 2 as the two agree."""
    H2C = "h2c"
    """HTTP/2 in the clear, from the first byte."""
    TCP = "tcp"
    """Bytes, which nobody looks into."""


DEFAULT_PORTS = {UpstreamScheme.HTTP: 80, UpstreamScheme.HTTPS: 443, UpstreamScheme.H2C: 80}


@attrs.frozen(kw_only=True)
class UpstreamUri:
    """An address taken apart."""

    text: str
    """As it was registered."""
    scheme: UpstreamScheme
    host: str
    """A name or an address in lower case, IPv6 without brackets."""
    port: int
    path: str
    """What stands before the path of each request: empty, or ``/grafana`` without a slash at its end."""

    @property
    def target(self) -> str:
        """``host:port``, IPv6 in brackets: what the agent dials."""
        return f"{self.bracketed_host}:{self.port}"

    @property
    def authority(self) -> str:
        """``host[:port]`` as a Host field of this scheme has it."""
        if self.port == DEFAULT_PORTS.get(self.scheme):
            return self.bracketed_host
        return self.target

    @property
    def bracketed_host(self) -> str:
        """The host as it stands in URLs."""
        return f"[{self.host}]" if ":" in self.host else self.host


def parse_upstream_uri(text: str) -> UpstreamUri:
    """Return the parts of ``text``: ``http://10.0.3.12:3000``, ``https://wiki.internal/base``, ``tcp://redis:6379``.

    Raises InvalidUpstreamUriError.
    """
    check_characters(text)
    scheme = scheme_of(text)
    rest = text.partition("://")[2]
    authority, slash, tail = rest.partition("/")
    host, port = split_authority(authority, scheme)
    path = slash + tail
    if scheme is UpstreamScheme.TCP and path:
        raise InvalidUpstreamUriError(
            f"{text!r} has a path: a TCP application has none; write tcp://{authority}"
        )
    if PATH.fullmatch(path) is None or is_dotted(path):
        raise InvalidUpstreamUriError(
            f"the path {path!r} is not plain: use segments of letters, digits and . _ ~ @ : , = + -, without . and .."
        )
    return UpstreamUri(text=text, scheme=scheme, host=host, port=port, path=path.removesuffix("/"))


def check_characters(text: str) -> None:
    if len(text) > MAX_URI:
        raise InvalidUpstreamUriError(f"the URI has {len(text)} characters; at most {MAX_URI} are allowed")
    if not text.isascii() or any(character <= " " or character == "\x7f" for character in text):
        raise InvalidUpstreamUriError(
            f"{text!r} has a character that no URI has: use ASCII without spaces and control characters"
        )
    for mark, part in {"#": "fragment", "?": "query", "\\": "backslash", "%": "percent sign"}.items():
        if mark in text:
            raise InvalidUpstreamUriError(f"{text!r} has a {part}: end it before the {mark!r}")


def scheme_of(text: str) -> UpstreamScheme:
    name, separator, rest = text.partition("://")
    if not separator:
        raise InvalidUpstreamUriError(
            f"{text!r} does not say how to speak: write http://{text}, https://{text}, h2c://{text} or tcp://{text}"
        )
    try:
        return UpstreamScheme(name)
    except ValueError:
        if name.lower() in list(UpstreamScheme):
            hint = f"write {name.lower()}://{rest}"
        else:
            hint = "use http://, https://, h2c:// or tcp://"
        raise InvalidUpstreamUriError(f"{name}:// is not supported: {hint}") from None


def split_authority(authority: str, scheme: UpstreamScheme) -> tuple[str, int]:
    if "@" in authority:
        raise InvalidUpstreamUriError(
            "the URI holds a user name: it is not a place for credentials; leave it out"
        )
    if authority.startswith("["):
        bracketed, bracket, tail = authority.partition("]")
        if not bracket or (tail and not tail.startswith(":")):
            raise InvalidUpstreamUriError(f"{authority!r} is not [IPv6 address]:port")
        return ipv6(bracketed[1:]), port_of(tail[1:] if tail else None, scheme)
    host, colon, port = authority.partition(":")
    if ":" in port:
        raise InvalidUpstreamUriError(f"{authority!r} is not host:port: write an IPv6 address in brackets")
    return name_or_ipv4(host), port_of(port if colon else None, scheme)


def port_of(text: str | None, scheme: UpstreamScheme) -> int:
    """The port that ``text`` says; the scheme's own when it is None."""
    if text is None:
        if scheme is UpstreamScheme.TCP:
            raise InvalidUpstreamUriError("a TCP application needs a port: write tcp://host:port")
        return DEFAULT_PORTS[scheme]
    if PORT.fullmatch(text) is None or int(text) > MAX_PORT:
        raise InvalidUpstreamUriError(f"the port {text!r} is not a number from 1 to {MAX_PORT}")
    return int(text)


def name_or_ipv4(host: str) -> str:
    if not host:
        raise InvalidUpstreamUriError("the URI names no host")
    if ADDRESS_LIKE.fullmatch(host):
        return address(host, ipaddress.IPv4Address)
    if host != host.lower():
        raise InvalidUpstreamUriError(f"the host {host!r} has capitals: write {host.lower()}")
    if len(host) > MAX_HOST or HOST.fullmatch(host) is None:
        raise InvalidUpstreamUriError(
            f"{host!r} is not a host name: use lower-case letters, digits, - and _, in parts between dots"
        )
    return host


def ipv6(host: str) -> str:
    return address(host, ipaddress.IPv6Address)


def address(host: str, kind: type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address]) -> str:
    try:
        parsed = kind(host)
    except ValueError:
        raise InvalidUpstreamUriError(
            f"{host!r} is not an IP address in full, such as 127.0.0.1 or ::1, and no host name looks so"
        ) from None
    if "%" in host or str(parsed) != host:
        raise InvalidUpstreamUriError(f"{host!r} is one of several spellings: write {parsed}")
    if parsed.is_unspecified:
        raise InvalidUpstreamUriError(f"{host} is where programs listen: write the address that agents dial")
    if parsed.is_multicast:
        raise InvalidUpstreamUriError(f"{host} is a multicast address, which no application has")
    return host


def is_dotted(path: str) -> bool:
    return not {".", ".."}.isdisjoint(path.split("/"))
