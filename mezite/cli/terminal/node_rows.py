# SPDX-License-Identifier: Apache-2.0
"""Nodes as mezctl and msh show them."""

from __future__ import annotations

from mezite.api.pb.mezite.v1 import nodes_pb2 as pb
from mezite.cli.terminal.output import Column
from mezite.core.timestamps import format_timestamp

__all__ = ["NODE_COLUMNS", "node_row"]

NODE_COLUMNS = (
    Column("name", "Name"),
    Column("status", "Status"),
    Column("labels", "Labels"),
    Column("logins", "Logins"),
    Column("version", "Version"),
    Column("last_seen", "Last seen"),
)


def node_row(node: pb.Node) -> dict[str, object]:
    """Return the JSON form, whose keys are part of the contract."""
    return {
        "name": node.name,
        "status": node.status,
        "labels": dict(sorted(node.labels.items())),
        "logins": list(node.logins),
        "agent_id": node.agent_id,
        "version": node.version,
        "last_seen": format_timestamp(node.last_seen_ms) if node.last_seen_ms else None,
        "hub_id": node.hub_id or None,
        "lock_reason": node.lock_reason or None,
    }
