# SPDX-License-Identifier: Apache-2.0
"""The few pages that single sign-on shows by itself: without scripts, and with everything from elsewhere escaped (D19).

They work where the web app is not built, and in the browser of somebody who only wants to let a program in.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from html import escape
from urllib.parse import quote, urlencode

import quart

from mezite.services.audit_log import AuditUnavailableError
from mezite.services.errors import RefusedError
from mezite.services.sso.clients import ClientQuestion
from mezite.web.answers import explained
from mezite.web.plain_page import page

__all__ = [
    "as_page",
    "ask_for_code",
    "ask_to_allow",
    "ask_to_sign_in",
    "came_in",
    "decided",
    "refused",
]


def came_in(user_name: str, return_to: str) -> quart.Response:
    """Return the page behind a browser's login, which leads on by itself.

    A redirect would not do: to the browser it is still the provider's doing, and the session's cookie, which is for
    this site only (SameSite=Strict), would not come along.
    """
    target = escape(return_to)
    return page(
        "Signed in",
        f'      <p>You are {escape(user_name)}. <a href="{target}">Continue</a></p>',
        head=f'<meta http-equiv="refresh" content="0;url={target}">\n    ',
    )


def ask_for_code() -> quart.Response:
    """Return the page on which a person enters the code that a program shows."""
    return page(
        "Let a program in",
        """\
      <p>Enter the code that the program shows. Do so only if you have started it yourself.</p>
      <form method="get" action="/sso/device">
        <label for="code">Code</label>
        <input id="code" name="code" autocomplete="off" autocapitalize="characters" maxlength="16" required autofocus>
        <button type="submit">Continue</button>
      </form>""",
    )


def ask_to_sign_in(question: ClientQuestion) -> quart.Response:
    """Return the page behind the code: whom it is for, and where to sign in."""
    start = (
        f"/v1/webapi/sso/{quote(question.connector, safe='')}/start?{urlencode({'code': question.user_code})}"
    )
    return page(
        "Let a program in",
        f"""\
{_facts(question)}
      <p>Sign in only if you have started this program yourself, at that address.</p>
      <p><a href="{escape(start)}">Sign in with {escape(question.connector)}</a></p>""",
    )


def ask_to_allow(question: ClientQuestion) -> quart.Response:
    """Return the question to somebody who has signed in."""
    return page(
        "Let this program in?",
        f"""\
{_facts(question)}
      <p>It will act as {escape(question.user_name)}. Somebody who sent you this code would act in your name.</p>
      <form method="post" action="/v1/webapi/sso/device/decide">
        <input type="hidden" name="token" value="{escape(question.token)}">
        <button type="submit" name="answer" value="allow">Let it in</button>
        <button type="submit" name="answer" value="refuse">I do not know it</button>
      </form>""",
    )


def decided(question: ClientQuestion, *, allowed: bool) -> quart.Response:
    """Return the page behind the answer."""
    if allowed:
        return page("Done", "      <p>The program goes on by itself. You can close this window.</p>")
    return page(
        "Not let in",
        f"      <p>The program at {escape(question.client_address)} gets nothing. You can close this window.</p>",
    )


def refused(status: int, message: str, event_id: str) -> quart.Response:
    """Return what went wrong."""
    event = f"\n      <p>Audit event {escape(event_id)}</p>" if event_id else ""
    return page(
        "That did not work",
        f'      <p class="failed">{escape(message)}</p>{event}\n      <p><a href="/">Back</a></p>',
        status=status,
    )


async def as_page(handler: Callable[[], Awaitable[quart.Response]]) -> quart.Response:
    """A person is looking: refusals are pages, too."""
    try:
        return await handler()
    except (RefusedError, AuditUnavailableError) as error:
        return refused(*explained(error))


def _facts(question: ClientQuestion) -> str:
    return (
        f"      <p>A program at <strong>{escape(question.client_address)}</strong> shows the code "
        f"<strong>{escape(question.user_code)}</strong>.</p>"
    )
