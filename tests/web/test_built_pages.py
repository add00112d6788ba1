# SPDX-License-Identifier: Apache-2.0
"""The app as it was built, or plain pages where it was not."""

import gzip
import re
from pathlib import Path

import pytest

from mezite.web.built_pages import APP_PATHS, APP_POLICY, BuiltPages
from mezite.web.static_pages import PAGES
from tests.web.browser import browsing, make_app

SCRIPT = b"export const x = 1;\n" * 50


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "dist" / "assets").mkdir(parents=True)
    (tmp_path / "dist" / "index.html").write_text("<!doctype html><title>app</title>")
    (tmp_path / "dist" / "assets" / "index-1.js").write_bytes(SCRIPT)
    (tmp_path / "dist" / "assets" / "index-1.css").write_text("a{}")
    (tmp_path / "dist" / "assets" / "index-1.js.map").write_text("{}")
    (tmp_path / "secret.js").write_text("none of your business")
    return tmp_path / "dist"


@pytest.mark.parametrize("path", APP_PATHS)
async def test_the_document_is_the_same_everywhere(world, folder, path):
    app, _ = make_app(world, pages=BuiltPages.load(folder))
    async with browsing(app) as browser:
        answer = await browser.send("GET", path)
        posted = await browser.send("POST", path, {})
    assert (answer.status, answer.body) == (200, b"<!doctype html><title>app</title>")
    assert answer.header(b"content-type") == b"text/html; charset=utf-8"
    assert answer.header(b"content-security-policy") == APP_POLICY.encode()
    assert answer.header(b"cache-control") == b"no-store"
    assert answer.header(b"cross-origin-opener-policy") == b"same-origin"
    assert posted.status == 405


def test_the_policy_allows_nothing_loose():
    """Threat D19."""
    assert "unsafe" not in APP_POLICY
    assert "*" not in APP_POLICY
    for part in ("default-src 'none'", "frame-ancestors 'none'", "form-action 'none'", "base-uri 'none'"):
        assert part in APP_POLICY


async def test_files_are_for_ever(world, folder):
    app, _ = make_app(world, pages=BuiltPages.load(folder))
    async with browsing(app) as browser:
        plain = await browser.send("GET", "/assets/index-1.js")
        packed = await browser.send("GET", "/assets/index-1.js", b"", ("accept-encoding", "br, gzip"))
        style = await browser.send("GET", "/assets/index-1.css", b"", ("accept-encoding", "gzip;q=0"))
    assert (plain.body, plain.header(b"content-encoding")) == (SCRIPT, None)
    assert (gzip.decompress(packed.body), packed.header(b"content-encoding")) == (SCRIPT, b"gzip")
    assert style.body == b"a{}"
    assert style.header(b"content-type") == b"text/css; charset=utf-8"
    for answer in (plain, packed):
        assert answer.header(b"content-type") == b"text/javascript; charset=utf-8"
        assert answer.header(b"cache-control") == b"public, max-age=31536000, immutable"
        assert answer.header(b"vary") == b"accept-encoding"
        assert answer.header(b"x-content-type-options") == b"nosniff"


@pytest.mark.parametrize(
    "name",
    [
        "index-2.js",
        "index-1.js.map",
        "index.html",
        "../index.html",
        "../secret.js",
        "..%2fsecret.js",
        "%2e%2e/secret.js",
        "%2e%2e%2fsecret.js",
        "..%5csecret.js",
        "index-1.js%00",
        "./index-1.js",
        "/index-1.js",
        "",
    ],
)
async def test_only_what_was_built_is_served(world, folder, name):
    """Threat D8: names are looked up, no path is opened."""
    app, _ = make_app(world, pages=BuiltPages.load(folder))
    async with browsing(app) as browser:
        answer = await browser.send("GET", f"/assets/{name}")
    assert answer.status in (400, 404), answer.body
    assert b"business" not in answer.body


async def test_without_a_build_there_are_plain_pages(world, tmp_path):
    plain = {page.path: page.read() for page in PAGES}
    app, _ = make_app(world, pages=BuiltPages.load(tmp_path / "dist"))
    async with browsing(app) as browser:
        for path in APP_PATHS:
            answer = await browser.send("GET", path)
            assert (answer.status, answer.body) == (200, plain.get(path, plain["/"])), path
        assert (await browser.send("GET", "/assets/index-1.js")).status == 404


def test_the_app_knows_the_same_addresses():
    source = (Path(__file__).parents[2] / "web" / "src" / "router.ts").read_text()
    (paths,) = re.findall(r"PATHS = \[(.*?)\]", source, re.S)
    assert tuple(re.findall(r'"([^"]*)"', paths)) == APP_PATHS
