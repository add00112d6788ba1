# SPDX-License-Identifier: Apache-2.0
"""The pages on a browser's way through the hub to an application: each leads on by itself, or by a button (D19)."""

from __future__ import annotations

from html import escape

import quart

from mezite.services.apps.logins import HandOver
from mezite.web.plain_page import SHELL

__all__ = ["ask_again", "hand_over"]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; form-action https:; "
    "base-uri 'none'; frame-ancestors 'none'"
)
"""Nothing inline. The form's own address is not enough: browsers hold the policy against all redirects that follow, and
where an application leads on from its first page, to a login of its own perhaps, is not ours to say."""

SCRIPT = '<script src="/pages/onward.js" defer></script>\n    '


def ask_again(path: str) -> quart.Response:
    """Return a page that asks for `path` once more, now as a page of this very site.

    A browser that comes from an application's host, or from a link in a mail, does not bring the session's cookie along
    (SameSite=Strict).
    """
    target = escape(path)
    return _page(
        "One moment",
        f'      <p><a id="onward" href="{target}">Continue</a></p>',
        head=f'<noscript><meta http-equiv="refresh" content="0;url={target}"></noscript>\n    ',
    )


def hand_over(way_back: HandOver) -> quart.Response:
    """Return the form that brings the browser back, with the code in its body and in no address (threat D23)."""
    name = escape(way_back.app.name)
    return _page(
        f"On to {name}",
        f"""\
      <form id="onward" method="post" action="{escape(way_back.url)}">
        <input type="hidden" name="code" value="{escape(way_back.code.reveal())}">
        <button type="submit" autofocus>Continue to {name}</button>
      </form>""",
    )


def _page(title: str, body: str, *, head: str = "") -> quart.Response:
    """`title`, `body` and `head` are HTML."""
    text = SHELL.format(title=title, body=body, head=SCRIPT + head)
    headers = {"content-type": "text/html; charset=utf-8", "content-security-policy": POLICY}
    return quart.Response(text, headers=headers)
