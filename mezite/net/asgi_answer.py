# SPDX-License-Identifier: Apache-2.0
"""A short answer of the front's own, for people or for programs, without an application behind it."""

from __future__ import annotations

import html
import json
from collections.abc import Mapping, Sequence

from .asgi_types import Scope, Send

__all__ = ["answer"]

_HEADERS = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
)

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>
<body><h1>{title}</h1><p>{message}</p>{link}</body></html>
"""
_LINK = '<p><a href="{url}" target="_top">{text}</a></p>'

_NOTHING: Mapping[str, str] = {}


async def answer(
    scope: Scope,
    send: Send,
    status: int,
    title: str,
    message: str,
    *,
    link: tuple[str, str] | None = None,
    details: Mapping[str, str] = _NOTHING,
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> None:
    """Answer a request: a page where the client prefers HTML, else the JSON of the web API's errors.

    A request for a WebSocket is refused in the same way. `message` is one sentence, and may hold what the client sent.
    `link` is where a person goes on, text and URL; `details` are members of the JSON besides, `headers` more fields.
    """
    accepted = [value for name, value in scope["headers"] if name == b"accept"]
    if any(b"text/html" in value for value in accepted):
        kind = b"text/html; charset=utf-8"
        body = _PAGE.format(title=html.escape(title), message=html.escape(message), link=_link(link)).encode()
    else:
        kind = b"application/json"
        body = json.dumps({"error": {"message": message, "event_id": "", **details}}).encode() + b"\n"
    fields = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *_HEADERS, *headers]
    # A refused WebSocket is answered in HTTP (the extension websocket.http.response of ASGI).
    part = "http.response" if scope["type"] == "http" else "websocket.http.response"
    await send({"type": f"{part}.start", "status": status, "headers": fields})
    await send({"type": f"{part}.body", "body": body})


def _link(link: tuple[str, str] | None) -> str:
    return "" if link is None else _LINK.format(text=html.escape(link[0]), url=html.escape(link[1]))
