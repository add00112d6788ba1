# SPDX-License-Identifier: Apache-2.0
"""Pages without scripts, for where the web app is not built, not wanted, or not what was asked for (threat D19)."""

from __future__ import annotations

from html import escape

import quart

__all__ = ["SHELL", "page"]

POLICY = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
"""No script at all; a form goes to this hub only; nobody puts a frame around the question."""

SHELL = """\
<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    {head}<title>{title} · mezite</title>
    <link rel="stylesheet" href="/pages/plain.css">
  </head>
  <body>
    <main>
      <h1>{title}</h1>
{body}
    </main>
  </body>
</html>
"""


def page(title: str, body: str, *, status: int = 200, head: str = "") -> quart.Response:
    """Return a page. `body` and `head` are HTML: whatever comes from elsewhere is escaped in them."""
    text = SHELL.format(title=escape(title), body=body, head=head)
    headers = {"content-type": "text/html; charset=utf-8", "content-security-policy": POLICY}
    return quart.Response(text, status=status, headers=headers)
