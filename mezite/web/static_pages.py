# SPDX-License-Identifier: Apache-2.0
"""The few pages that need no session, as files of this package, read once."""

from __future__ import annotations

from importlib import resources

import attrs

__all__ = ["PAGES", "StaticPage"]

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Nothing inline, nothing from elsewhere, no form that could carry a password to another site (threat D19)."""


@attrs.frozen(kw_only=True)
class StaticPage:
    """One file and where it is served."""

    path: str
    file: str
    content_type: str

    def read(self) -> bytes:
        """Return the file's bytes."""
        return resources.files("mezite.web").joinpath("pages", self.file).read_bytes()


PAGES = (
    StaticPage(path="/", file="index.html", content_type="text/html; charset=utf-8"),
    StaticPage(path="/invite", file="invite.html", content_type="text/html; charset=utf-8"),
    StaticPage(path="/pages/invite.js", file="invite.js", content_type="text/javascript; charset=utf-8"),
    StaticPage(path="/pages/onward.js", file="onward.js", content_type="text/javascript; charset=utf-8"),
    StaticPage(path="/pages/plain.css", file="plain.css", content_type="text/css; charset=utf-8"),
)
