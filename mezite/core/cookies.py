# SPDX-License-Identifier: Apache-2.0
"""The one cookie that is ours, read and written byte by byte (threat D17).

The parsers in frameworks take the last of several cookies of a name, strip spaces that browsers keep, and drop all
cookies when one is odd. A hostile sibling site can use each of these. Here a cookie is ours, or there is none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["SESSION_COOKIE", "read_cookie", "write_cookie"]

SESSION_COOKIE = "mezite_session"
"""Holds the session of a browser that has logged in on the hub's own pages."""

_VALUE = re.compile(rb"[0-9A-Za-z_-]{1,256}", re.ASCII)
"""What our secrets are made of; 256 is four times the longest."""


def read_cookie(fields: Iterable[bytes], name: str) -> str | None:
    """Return the value of the cookie called `name` in the Cookie fields of one request.

    None when there is none; when there are several, for one of them may be another site's; when it holds anything but
    letters, digits, `_` and `-`.
    """
    wanted = name.encode("ascii")
    found = []
    for field in fields:
        for pair in field.split(b";"):
            # RFC 6265 section 4.2.1: one space behind each semicolon, which is no part of the name.
            key, _, value = pair.removeprefix(b" ").partition(b"=")
            if key == wanted:
                found.append(value)
    if len(found) != 1 or _VALUE.fullmatch(found[0]) is None:
        return None
    return found[0].decode("ascii")


def write_cookie(name: str, value: str, *, max_age: int, same_site: str = "Strict") -> str:
    """Return a Set-Cookie value: for this host and all its paths, out of reach of scripts and of other sites.

    `max_age` is in seconds; 0 takes the cookie away. With `same_site` `Lax` it also comes along when another site leads
    the browser here, as an identity provider does behind a login.
    """
    return f"{name}={value}; Path=/; Max-Age={max_age}; HttpOnly; Secure; SameSite={same_site}"
