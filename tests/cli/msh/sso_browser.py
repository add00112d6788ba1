# SPDX-License-Identifier: Apache-2.0
"""A browser of the simplest kind: it follows redirects, keeps cookies, shows pages and submits forms.

As a program (`BROWSER=python tests/cli/msh/sso_browser.py %s`) it opens one URL and ends.
"""

import html
import re
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request
from http.cookiejar import CookieJar


class Browser:
    """One person's browser; it takes every certificate, for the hub's is its own."""

    def __init__(self) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            urllib.request.HTTPSHandler(context=context),
            urllib.request.HTTPCookieProcessor(CookieJar()),
        )
        self.url = ""
        self.page = ""

    def open(self, url: str, form: dict[str, str] | None = None, *, refused: bool = False) -> str:
        """The page; one that says 401 when it is expected to be `refused`."""
        data = None if form is None else urllib.parse.urlencode(form).encode()
        target = urllib.parse.urljoin(self.url, url)
        try:
            with self._opener.open(urllib.request.Request(target, data), timeout=60) as answer:
                self.url, self.page = answer.url, answer.read().decode()
        except urllib.error.HTTPError as error:
            if not refused or error.code != 401:
                raise
            with error:
                self.page = error.read().decode()
        return self.page

    def follow(self, text: str) -> str:
        """Click on the link with that text."""
        return self.open(html.unescape(re.search(rf'<a href="([^"]*)">{text}', self.page)[1]))

    def answer(self, answer: str) -> str:
        """Press the button of that value in the form of the page."""
        action = re.search('action="([^"]*)"', self.page)[1]
        token = re.search('name="token" value="([^"]*)"', self.page)[1]
        return self.open(action, {"token": token, "answer": answer})


if __name__ == "__main__":
    Browser().open(sys.argv[1])
