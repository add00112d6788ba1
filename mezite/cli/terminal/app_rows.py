# SPDX-License-Identifier: Apache-2.0
"""Applications as mezctl shows them."""

from __future__ import annotations

from mezite.api.pb.mezite.v1 import apps_pb2 as pb
from mezite.cli.terminal.output import Column
from mezite.core.durations import format_duration
from mezite.core.timestamps import format_timestamp

__all__ = ["APP_COLUMNS", "app_row", "app_text"]

APP_COLUMNS = (
    Column("name", "Name"),
    Column("status", "Status"),
    Column("health", "Health"),
    Column("protocol", "Protocol"),
    Column("public_addr", "Public address"),
    Column("uri", "URI"),
    Column("labels", "Labels"),
    Column("agent_hostnames", "Agents"),
)


def app_row(app: pb.App) -> dict[str, object]:
    """Return the JSON form, whose keys are part of the contract."""
    options = app.options
    return {
        "name": app.name,
        "status": app.status,
        "health": app.health or None,
        "enabled": app.enabled,
        "protocol": app.protocol,
        "uri": app.uri,
        "public_addr": app.public_addr or None,
        "labels": dict(sorted(app.labels.items())),
        "agent_hostnames": [agent.hostname for agent in app.agents],
        "agents": [_agent_row(agent) for agent in app.agents],
        "upstream_verification": _verification(app),
        "insecure_skip_verify": options.insecure_skip_verify,
        "ca_pem": options.ca_pem or None,
        "cors_origins": list(options.cors_origins),
        "request_headers": dict(sorted(options.request_headers.items())),
        "response_headers": dict(sorted(options.response_headers.items())),
        "max_body": options.max_body or None,
        "rewrite_location": options.rewrite_location,
        "http1_only": options.http1_only,
        "health_path": options.health_path or None,
        "health_interval": format_duration(options.health_interval_seconds)
        if options.health_interval_seconds
        else None,
        "created_at": format_timestamp(app.created_at_ms),
        "updated_at": format_timestamp(app.updated_at_ms),
    }


def app_text(app: pb.App) -> dict[str, object]:
    """Return the form for people: agents with their state, and no certificate in full."""
    row = app_row(app)
    del row["insecure_skip_verify"], row["ca_pem"], row["agent_hostnames"]
    row["agents"] = [_agent_text(agent) for agent in app.agents]
    return row


def _agent_row(agent: pb.AppAgent) -> dict[str, object]:
    return {
        "hostname": agent.hostname,
        "status": agent.status,
        "health": agent.health or None,
        "health_since": format_timestamp(agent.health_since_ms) if agent.health_since_ms else None,
        "health_reason": agent.health_reason or None,
    }


def _agent_text(agent: pb.AppAgent) -> str:
    """`node-1 (online, unhealthy since 2026-11-24T03:00:00.000Z: HTTP 503)`."""
    words = agent.status
    if agent.health:
        words += f", {agent.health}"
    if agent.health_since_ms:
        words += f" since {format_timestamp(agent.health_since_ms)}"
    if agent.health_reason:
        words += f": {agent.health_reason}"
    return f"{agent.hostname} ({words})"


def _verification(app: pb.App) -> str | None:
    """How the hub knows that it speaks with the application, in words; None where there is no TLS to it."""
    if not app.uri.startswith("https://"):
        return None
    if app.options.insecure_skip_verify:
        return f"INSECURE: the certificate of {app.uri} is not verified, whoever answers there is believed"
    if app.options.ca_pem:
        return "against the certificates that were given (--ca-file)"
    return "against the hub's system roots"
