# SPDX-License-Identifier: Apache-2.0
"""Sessions that live in a browser's cookie, and what keeps other sites from riding on them (threat D21).

A browser sends the cookie with whatever request a page causes. SameSite=Strict keeps other sites out, but not the
applications that are served under the hub's own domain. So a request that changes something also carries a token that
only our own pages can have read: it is computed from the session's secret, which no script can read, and is handed out
by an answer that no other origin can read. What browsers themselves say of a request's origin is the second line.

The name of the cookie is a promise to programs, and has no prefix that browsers enforce: a sibling's page can set it,
too. A second cookie, which no sibling can set, says which is the hub's (threat D17).
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping

import quart
from quart.typing import ResponseTypes

from mezite.core.cookies import SEAL_COOKIE, SESSION_COOKIE, read_session, seal_of, write_cookie
from mezite.core.secret import Secret
from mezite.services.errors import AccessDeniedError

__all__ = ["check_request", "check_same_origin", "cookie_secret", "csrf_token", "forget", "remember"]

CSRF_HEADER = "X-Mezite-CSRF"
SAFE_METHODS = frozenset({"GET", "HEAD"})

_FOREIGN = (
    "this request was not made by the hub's own pages: reload the page and try again; "
    "if you did not do anything, another site tried to act in your name, and was stopped"
)


def cookie_secret() -> str | None:
    """Return the secret of the session that the request's cookies show; None when none of them is ours."""
    headers = quart.request.headers
    fields = [value.encode("latin-1", "replace") for value in headers.getlist("cookie") if value]
    return read_session(fields, from_browser="sec-fetch-site" in headers)


def csrf_token(secret: str) -> str:
    """Return the token that belongs to this session and to no other; it tells nothing about the secret."""
    return hmac.new(secret.encode("ascii"), b"mezite csrf v1", hashlib.sha256).hexdigest()


def check_request(secret: str) -> None:
    """Check a request whose credential is the cookie with `secret`.

    :raises AccessDeniedError: another site made it, or it changes something and has no token of this session.
    """
    check_same_origin()
    if quart.request.method in SAFE_METHODS:
        return
    shown = quart.request.headers.get(CSRF_HEADER, "")
    if not hmac.compare_digest(shown.encode("utf-8", "replace"), csrf_token(secret).encode()):
        raise AccessDeniedError(_FOREIGN)


def check_same_origin() -> None:
    """:raises AccessDeniedError: the browser says that another origin made the request.

    Sec-Fetch-Site cannot be written by scripts. `none` is a person who typed the address; only for reading. Browsers
    from before 2023 send Origin alone. Programs send neither: they have no cookies but those they were given.
    """
    headers, method = quart.request.headers, quart.request.method
    site = headers.get("sec-fetch-site")
    if site is not None:
        if site != "same-origin" and not (site == "none" and method in SAFE_METHODS):
            raise AccessDeniedError(_FOREIGN)
        return
    origin = headers.get("origin")
    if origin is not None and _host_of(origin) != _host_of(f"//{headers.get('host', '')}"):
        raise AccessDeniedError(_FOREIGN)


def _host_of(origin: str) -> str:
    """Host and port of an origin, without the scheme: a balancer may have ended the TLS."""
    authority = origin.rpartition("//")[2].lower()
    return authority.removesuffix(":443").removesuffix(":80")


def remember(secret: Secret, *, seconds: int) -> None:
    """Let this request's answer put the session into the browser."""
    value = secret.reveal()
    _set_cookies({SESSION_COOKIE: value, SEAL_COOKIE: seal_of(value)}, seconds)


def forget() -> None:
    """Let this request's answer take the session out of the browser."""
    _set_cookies({SESSION_COOKIE: "", SEAL_COOKIE: ""}, 0)


def _set_cookies(values: Mapping[str, str], seconds: int) -> None:
    lines = [write_cookie(name, value, max_age=seconds) for name, value in values.items()]

    @quart.after_this_request
    async def set_cookies(response: ResponseTypes) -> ResponseTypes:
        for line in lines:
            response.headers.add("set-cookie", line)
        return response
