# SPDX-License-Identifier: Apache-2.0
"""The pages of the web app as `web/build.py` has put them beside this module, read once; or plain ones instead.

One document is served at each address of the app; what it refers to has a hash of its content in its name, so that
browsers may keep it for ever. Only what was read at the start is served: a name is looked up, never opened.
"""

from __future__ import annotations

import gzip
from collections.abc import Mapping
from pathlib import Path

import attrs
import quart

from mezite.web.route_table import RouteTable
from mezite.web.static_pages import PAGES

__all__ = ["APP_PATHS", "APP_POLICY", "BuiltPages"]

FOLDER = Path(__file__).parent / "dist"

APP_PATHS = (
    "/",
    "/login",
    "/invite",
    "/account/factors",
    "/account/password",
    "/account/sessions",
    "/apps",
    "/apps/enter",
    "/approve",
    "/program",
)
"""`PATHS` in `web/src/router.ts`."""

APP_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
"""Nothing inline and nothing from elsewhere, no form that could carry a password to another site, and no text that
becomes markup (threat D19)."""

_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""What a build puts into `assets`; anything else is not served."""

_DOCUMENT = {
    "content-type": "text/html; charset=utf-8",
    "content-security-policy": APP_POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), publickey-credentials-get=(self)",
}


@attrs.frozen
class _Asset:
    content_type: str
    body: bytes
    packed: bytes = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class BuiltPages:
    """The document of the app and its assets by name; without a build there are neither."""

    document: bytes | None
    assets: Mapping[str, _Asset]

    @classmethod
    def load(cls, folder: Path = FOLDER) -> BuiltPages:
        """Read what was built into `folder`, if anything was."""
        document = folder / "index.html"
        if not document.is_file():
            return cls(document=None, assets={})
        files = sorted(path for path in (folder / "assets").iterdir() if path.suffix in _TYPES)
        return cls(document=document.read_bytes(), assets={path.name: _asset(path) for path in files})

    def add_to(self, table: RouteTable) -> None:
        """Declare the routes."""
        plain = {page.path: page for page in PAGES}
        for page in PAGES:
            if page.path not in APP_PATHS:
                table.page(page)
        for path in APP_PATHS:
            if self.document is None:
                table.page(attrs.evolve(plain.get(path, plain["/"]), path=path))
            else:
                table.answering("GET", path, self._page, "pages.get", "page")
        table.answering("GET", "/assets/<name>", self._file, "pages.get", "page")

    async def _page(self) -> quart.Response:
        return quart.Response(self.document, headers=_DOCUMENT)

    async def _file(self) -> quart.Response:
        asset = self.assets.get((quart.request.view_args or {})["name"])
        if asset is None:
            quart.abort(404, "there is no such file: reload the page, the hub may have been upgraded")
        packed = quart.request.accept_encodings.quality("gzip") > 0
        headers = {
            "content-type": asset.content_type,
            "cache-control": "public, max-age=31536000, immutable",
            "cross-origin-resource-policy": "same-origin",
            "vary": "accept-encoding",
        }
        if packed:
            headers["content-encoding"] = "gzip"
        return quart.Response(asset.packed if packed else asset.body, headers=headers)


def _asset(path: Path) -> _Asset:
    body = path.read_bytes()
    return _Asset(_TYPES[path.suffix], body, gzip.compress(body, mtime=0))
