# SPDX-License-Identifier: Apache-2.0
"""The pages that need no session."""

import re

import pytest

from mezite.web.built_pages import BuiltPages
from mezite.web.static_pages import PAGE_POLICY, PAGES
from tests.web.browser import browsing, make_app

NOT_BUILT = BuiltPages(document=None, assets={})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
async def test_a_page_is_served_as_it_is(world, page):
    app, _ = make_app(world, pages=NOT_BUILT)
    async with browsing(app) as browser:
        answer = await browser.send("GET", page.path)
        head = await browser.send("HEAD", page.path)
        posted = await browser.send("POST", page.path, {})
    assert (answer.status, answer.body) == (200, page.read())
    assert answer.header(b"content-type") == page.content_type.encode()
    assert answer.header(b"content-security-policy") == PAGE_POLICY.encode()
    assert (head.status, head.body) == (200, b"")
    assert posted.status == 405


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path)
def test_a_page_keeps_to_its_policy(page):
    """Threat D19: nothing inline and nothing from elsewhere, or the browser would refuse it."""
    text = page.read().decode()
    assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\son\w+=|style=", text)
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", text)
    assert "eval(" not in text
    assert "innerHTML" not in text


async def test_what_a_page_refers_to_is_served(world):
    app, _ = make_app(world, pages=NOT_BUILT)
    served = {rule.rule for rule in app.url_map.iter_rules()}
    for page in PAGES:
        for path in re.findall(r"""(?:src|href)=["'](/[^"'#]*)["']""", page.read().decode()):
            assert path in served, page.path
