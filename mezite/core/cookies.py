# SPDX-License-Identifier: Apache-2.0
"""The cookies that are ours, read and written byte by byte (threat D17).

The parsers in frameworks take the last of several cookies of a name, strip spaces that browsers keep, and drop all
cookies when one is odd. A hostile sibling site can use each of these. Here a cookie is ours, or there is none.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Collection, Iterable

__all__ = ["SEAL_COOKIE", "SESSION_COOKIE", "read_cookie", "read_session", "seal_of", "write_cookie"]

SESSION_COOKIE = "mezite_session"
"""Holds the session of a browser that has logged in on the hub's own pages."""

SEAL_COOKIE = "__Host-mezite_seal"
"""Goes beside it, and says which session this very host has set. A page of an application below the same registrable
domain can set `mezite_session` for all of that, and so lead a visitor into somebody else's session, or out of their
own; a name with this prefix it cannot set."""

_VALUE = re.compile(rb"[0-9A-Za-z_-]{1,256}", re.ASCII)
"""What our secrets are made of; 256 is four times the longest."""

MAX_TRIED = 64
"""Cookies of one name: two domains that an application shares with the hub, and a few paths each, are a dozen."""


def read_cookie(fields: Iterable[bytes], name: str) -> str | None:
    """Return the value of the cookie called `name` in the Cookie fields of one request.

    None when there is none; when there are several, for one of them may be another site's; when it holds anything but
    letters, digits, `_` and `-`.
    """
    found = values(fields, name)
    if len(found) != 1 or _VALUE.fullmatch(found[0]) is None:
        return None
    return found[0].decode("ascii")


def read_session(fields: Collection[bytes], *, from_browser: bool) -> str | None:
    """Return the secret of the session that the Cookie fields of one request show; None when there is none.

    With a seal it is the one that the seal is for, whatever another site has set beside it. Without one a browser has
    none (`from_browser`): what it shows is not from here. A program keeps one cookie, and sends what it was given.
    """
    seal = read_cookie(fields, SEAL_COOKIE)
    if seal is None:
        return None if from_browser else read_cookie(fields, SESSION_COOKIE)
    for value in values(fields, SESSION_COOKIE)[:MAX_TRIED]:
        if _VALUE.fullmatch(value) and hmac.compare_digest(seal_of(value.decode("ascii")), seal):
            return value.decode("ascii")
    return None


def seal_of(secret: str) -> str:
    """Return the seal of a session. It tells nothing about the secret."""
    return hmac.new(secret.encode("ascii"), b"mezite seal v1", hashlib.sha256).hexdigest()


def values(fields: Iterable[bytes], name: str) -> list[bytes]:
    """All values of that name, as they came."""
    wanted = name.encode("ascii")
    found = []
    for field in fields:
        for pair in field.split(b";"):
            # RFC 6265 section 4.2.1: one space behind each semicolon, which is no part of the name.
            key, _, value = pair.removeprefix(b" ").partition(b"=")
            if key == wanted:
                found.append(value)
    return found


def write_cookie(name: str, value: str, *, max_age: int, same_site: str = "Strict") -> str:
    """Return a Set-Cookie value: for this host and all its paths, out of reach of scripts and of other sites.

    `max_age` is in seconds; 0 takes the cookie away. With `same_site` `Lax` it also comes along when another site leads
    the browser here, as an identity provider does behind a login.
    """
    return f"{name}={value}; Path=/; Max-Age={max_age}; HttpOnly; Secure; SameSite={same_site}"
