# SPDX-License-Identifier: Apache-2.0
"""What is asked in a health check, and what the answers come to."""

from __future__ import annotations

import pytest

from mezite.core.apps.app import App, AppOptions
from mezite.core.apps.health import (
    AgentHealth,
    AppHealth,
    HealthState,
    health_fields,
    health_key,
    overall,
    status_reason,
)

YES, NO, WHO_KNOWS = HealthState.HEALTHY, HealthState.UNHEALTHY, HealthState.UNKNOWN


def wiki(uri: str = "http://10.0.3.12:3000", **options: object) -> App:
    return App(name="wiki", uri=uri, public_addr="wiki.apps.example.com", options=AppOptions(**options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ([], AppHealth.UNKNOWN),
        ([WHO_KNOWS], AppHealth.UNKNOWN),
        ([YES, WHO_KNOWS], AppHealth.HEALTHY),
        ([NO, NO], AppHealth.UNHEALTHY),
        ([YES, NO, WHO_KNOWS], AppHealth.DEGRADED),
    ],
)
def test_of_several_agents(states: list[HealthState], expected: AppHealth) -> None:
    assert overall(states) is expected


@pytest.mark.parametrize(
    ("status", "reason"), [(200, ""), (204, ""), (302, ""), (404, "HTTP 404"), (503, "HTTP 503")]
)
def test_a_status(status: int, reason: str) -> None:
    assert status_reason(status) == reason


def test_nobody_asks() -> None:
    """Rules count; there is no identity, no address of a client, and no second request on the connection."""
    app = wiki(health_path="/healthz", request_headers={"authorization": "Basic eDp5"})
    assert health_fields(app) == [
        (b"Host", b"wiki.apps.example.com"),
        (b"user-agent", b"mezite-health"),
        (b"accept", b"*/*"),
        (b"authorization", b"Basic eDp5"),
        (b"X-Forwarded-Proto", b"https"),
        (b"X-Forwarded-Host", b"wiki.apps.example.com"),
        (b"Connection", b"close"),
    ]


def test_a_result_is_about_what_was_checked() -> None:
    keys = {
        health_key(app)
        for app in (wiki(), wiki("http://10.0.3.13:3000"), wiki(health_path="/a"), wiki(health_interval=5))
    }
    assert len(keys) == 3


def test_nothing_is_known_at_first() -> None:
    assert AgentHealth() == AgentHealth(state=HealthState.UNKNOWN, since=None, reason="")
