# SPDX-License-Identifier: Apache-2.0
"""Health of applications: what is asked of one, what an answer means, and what that makes of several agents."""

import enum
from collections.abc import Collection
from typing import Final

import attrs

from mezite.core.apps.app import App
from mezite.core.http1.upstream_fields import Field, FieldRules, UpstreamRequest, request_fields

__all__ = [
    "AgentHealth",
    "AppHealth",
    "HealthState",
    "health_fields",
    "health_key",
    "overall",
    "status_reason",
]

USER_AGENT: Final = b"mezite-health"

NOT_OF_A_CHECK: Final = frozenset({b"connection", b"x-forwarded-for"})
"""Nobody asks, so there is no address of a client; and the connection is not used again."""


class HealthState(enum.StrEnum):
    """What the last check through one agent has shown."""

    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"
    """It was not checked yet, or its agent is not connected."""


class AppHealth(enum.StrEnum):
    """An application as a whole."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    """Through some agents only."""
    UNHEALTHY = "unhealthy"
    UNKNOWN = "unknown"


@attrs.frozen(kw_only=True)
class AgentHealth:
    """An application as one agent reaches it."""

    state: HealthState = HealthState.UNKNOWN
    since: int | None = None
    """Milliseconds since 1970; None while unknown."""
    reason: str = ""
    """What failed: `HTTP 503`; empty unless unhealthy."""


def overall(states: Collection[HealthState]) -> AppHealth:
    """What the agents' states come to; those that are unknown say nothing."""
    known = {state for state in states if state is not HealthState.UNKNOWN}
    if not known:
        return AppHealth.UNKNOWN
    if len(known) > 1:
        return AppHealth.DEGRADED
    return AppHealth.HEALTHY if known == {HealthState.HEALTHY} else AppHealth.UNHEALTHY


def health_key(app: App) -> str:
    """What is checked: a result for another key says nothing about this application."""
    return f"{app.uri} {app.options.health_path}"


def health_fields(app: App) -> list[Field]:
    """The fields of the request for `health_path`: those of any request that no user has sent."""
    host = app.public_addr
    request = UpstreamRequest(host=host.encode("ascii"), public_name=host, client_ip="")
    rules = FieldRules(tuple(app.options.request_headers.items()))
    fields = request_fields([(b"user-agent", USER_AGENT), (b"accept", b"*/*")], request, rules)
    kept = [field for field in fields if field[0].lower() not in NOT_OF_A_CHECK]
    return [*kept, (b"Connection", b"close")]


def status_reason(status: int) -> str:
    """Why an answer with this status is not health; empty when it is."""
    return "" if 200 <= status < 400 else f"HTTP {status}"
