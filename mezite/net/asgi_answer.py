# SPDX-License-Identifier: Apache-2.0
"""A short answer of the front's own, for people or for programs, without an application behind it."""

from __future__ import annotations

import html
import json

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
<body><h1>{title}</h1><p>{message}</p></body></html>
"""


async def answer(scope: Scope, send: Send, status: int, title: str, message: str) -> None:
    """Answer a request: a page where the client prefers HTML, else the JSON of the web API's errors.

    A request for a WebSocket is refused in the same way. `message` is one sentence, and may hold what the client sent.
    """
    accepted = [value for name, value in scope["headers"] if name == b"accept"]
    if any(b"text/html" in value for value in accepted):
        kind = b"text/html; charset=utf-8"
        body = _PAGE.format(title=html.escape(title), message=html.escape(message)).encode()
    else:
        kind = b"application/json"
        body = json.dumps({"error": {"message": message, "event_id": ""}}).encode() + b"\n"
    headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode()), *_HEADERS]
    # A refused WebSocket is answered in HTTP (the extension websocket.http.response of ASGI).
    part = "http.response" if scope["type"] == "http" else "websocket.http.response"
    await send({"type": f"{part}.start", "status": status, "headers": headers})
    await send({"type": f"{part}.body", "body": body})
