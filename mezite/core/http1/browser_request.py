# SPDX-License-Identifier: Apache-2.0
"""What a browser says about a request besides what it asks for: whether a person goes somewhere, and whose page it is.

Cookies come along with whatever another application's page causes: to the browser all applications below one domain are
one site, so SameSite keeps none of them from the others. What it says of the page that asks is what tells them apart
(threats D11, D16, D21). Pages cannot write these fields; programs can, but have no cookie that they were not given.
"""

import enum
import re
from collections.abc import Collection, Iterable

import attrs

__all__ = [
    "PageOrigin",
    "Preflight",
    "is_for_a_page",
    "leads_somewhere",
    "preflight",
    "socket_origin",
    "who_asks",
]

Field = tuple[bytes, bytes]

SAFE_METHODS = frozenset({b"GET", b"HEAD"})

TOP_LEVEL = frozenset({b"document", b""})
"""Where a login can take place: not within a frame, whose page could lay something over it."""

METHOD = re.compile(rb"[A-Z][A-Z-]{0,19}")
FIELD_NAMES = re.compile(rb"[0-9A-Za-z_-]{1,64}(?:, ?[0-9A-Za-z_-]{1,64}){0,63}")


class PageOrigin(enum.Enum):
    """Whose page a request comes from."""

    OWN = "own"
    """The application's, or no page at all: a person who typed the address or followed a link, or a program."""
    LISTED = "listed"
    """Of an origin that may call the application."""
    FOREIGN = "foreign"
    """Anybody else's."""


@attrs.frozen
class Preflight:
    """What a browser asks before it lets a page ask (the Fetch standard, CORS-preflight request)."""

    origin: bytes
    method: bytes
    headers: bytes
    """The names of fields, as the browser lists them; empty for none."""


def values(fields: Iterable[Field], name: bytes) -> list[bytes]:
    return [value for key, value in fields if key == name]


def single(fields: Iterable[Field], name: bytes) -> bytes:
    """The value of a field that is there once, in lower case; empty when it is not there, or several times."""
    found = values(fields, name)
    return found[0].lower() if len(found) == 1 else b""


def is_for_a_page(fields: Collection[Field]) -> bool:
    """Whether the answer will be looked at by a person, in a window or a frame; scripts and programs want data."""
    mode = single(fields, b"sec-fetch-mode")
    if mode:
        return mode == b"navigate"
    wants_page = any(b"text/html" in value.lower() for value in values(fields, b"accept"))
    return wants_page and not values(fields, b"x-requested-with")


def leads_somewhere(method: bytes, fields: Collection[Field]) -> bool:
    """Whether a person goes to another page by this request, in a window of their own: it may be answered by a
    redirect to a login. Scripts, frames and programs cannot log in; they are better told.
    """
    top = single(fields, b"sec-fetch-dest") in TOP_LEVEL
    return method in SAFE_METHODS and top and is_for_a_page(fields)


def who_asks(method: bytes, fields: Collection[Field], own: bytes, listed: Collection[str]) -> PageOrigin:
    """Return whose page makes a request to the application whose own origin is ``own``.

    Following a link there is not for its page to allow: reading by GET goes on from anywhere, as long as it is a person
    who goes, and not a page that fetches.
    """
    site = single(fields, b"sec-fetch-site")
    if site in (b"same-origin", b"none"):
        return PageOrigin.OWN
    origins = values(fields, b"origin")
    if origins:
        return compared(origins, own, listed)
    if not values(fields, b"sec-fetch-site"):
        return PageOrigin.OWN
    goes = method in SAFE_METHODS and single(fields, b"sec-fetch-mode") == b"navigate"
    return PageOrigin.OWN if goes else PageOrigin.FOREIGN


def socket_origin(fields: Collection[Field], own: bytes, listed: Collection[str]) -> PageOrigin:
    """Return whose page asks for a WebSocket: browsers always say so, and let every page ask (threat D11)."""
    return compared(values(fields, b"origin"), own, listed)


def compared(origins: list[bytes], own: bytes, listed: Collection[str]) -> PageOrigin:
    if len(origins) != 1:
        return PageOrigin.FOREIGN
    if origins[0] == own:
        return PageOrigin.OWN
    return PageOrigin.LISTED if origins[0].decode("latin-1") in listed else PageOrigin.FOREIGN


def preflight(method: bytes, fields: Collection[Field]) -> Preflight | None:
    """Return the question of a preflight; None for any other request, and for a preflight that no browser makes."""
    if method != b"OPTIONS":
        return None
    origins = values(fields, b"origin")
    methods = values(fields, b"access-control-request-method")
    headers = values(fields, b"access-control-request-headers")
    if len(origins) != 1 or len(methods) != 1 or len(headers) > 1:
        return None
    names = headers[0] if headers else b""
    if METHOD.fullmatch(methods[0]) is None or (names and FIELD_NAMES.fullmatch(names) is None):
        return None
    return Preflight(origins[0], methods[0], names)
