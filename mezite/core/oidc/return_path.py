# SPDX-License-Identifier: Apache-2.0
"""Where a browser goes after a login: a path on this very host, or nowhere (threat D19)."""

import re

__all__ = ["InvalidReturnPathError", "checked_return_path", "is_loopback_callback"]

MAX_PATH = 1024
"""Characters; a dashboard's longest address has a tenth."""

SEGMENT = r"[A-Za-z0-9_~!$&'()*+,;=:@-][A-Za-z0-9._~!$&'()*+,;=:@-]*"
PATH = re.compile(rf"/(?:{SEGMENT}(?:/{SEGMENT})*/?)?(?:\?[A-Za-z0-9._~!$'()*+,;=:@&%/-]*)?", re.ASCII)
"""No empty segment, none that begins with a dot, nothing escaped, no backslash: whatever reads it, reads the same."""

CALLBACK = re.compile(r"http://127\.0\.0\.1:([1-9][0-9]{3,4})/([A-Za-z0-9_-]{22,128})", re.ASCII)


class InvalidReturnPathError(ValueError):
    """Not a path on this host."""


def checked_return_path(text: str) -> str:
    """Return ``text`` if it is a path of this host, with or without a query. Raises InvalidReturnPathError."""
    if len(text) > MAX_PATH or PATH.fullmatch(text) is None:
        raise InvalidReturnPathError("not a path on this host, such as /nodes?label=env")
    return text


def is_loopback_callback(url: str) -> bool:
    """Whether a client may be called back there: a port of the browser's own machine, by number, and a random path."""
    match = CALLBACK.fullmatch(url)
    return match is not None and int(match[1]) < 65536
