# SPDX-License-Identifier: Apache-2.0
"""Numbers and states for probes and Prometheus."""

import pytest

from mezite.web.diagnostics import create_diagnostics
from tests.services.tunnels import Closings
from tests.web.browser import browsing


@pytest.fixture
async def app(world):
    return create_diagnostics(world.database, world.registry)


async def get(app, path):
    async with browsing(app) as browser:
        answer = await browser.send("GET", path)
    assert answer.header(b"content-type") == b"text/plain; charset=utf-8"
    return answer.status, answer.body.decode()


async def test_a_healthy_hub(app):
    assert await get(app, "/healthz") == (200, "ok\n")
    assert await get(app, "/readyz") == (200, "ready\n")


async def test_without_its_database_it_lives_but_is_not_ready(app, world):
    await world.database.aclose()
    assert await get(app, "/healthz") == (200, "ok\n")
    status, text = await get(app, "/readyz")
    assert status == 503
    assert text.startswith("database: ")


async def test_metrics_count_tunnels_and_name_nobody(app, world):
    status, text = await get(app, "/metrics")
    assert status == 200
    assert "\nmezite_tunnels 0.0\n" in text
    with world.registry.claim(Closings().tunnel("agent-1")):
        _, text = await get(app, "/metrics")
    assert "\nmezite_tunnels 1.0\n" in text
    assert "agent-1" not in text
    assert "web-1" not in text


@pytest.mark.parametrize("path", ["/", "/healthz/", "/metrics/x", "/debug"])
async def test_nothing_else(app, path):
    status, text = await get(app, path)
    assert (status, text) == (404, "there are /healthz, /readyz and /metrics\n")
