# SPDX-License-Identifier: Apache-2.0
"""Second factors as both `msh mfa` and `mezctl users` show them."""

from __future__ import annotations

from mezite.api.pb.mezite.v1 import factors_pb2 as pb
from mezite.cli.terminal.escapes import escape_controls
from mezite.cli.terminal.output import Column
from mezite.core.timestamps import format_timestamp

__all__ = ["FACTOR_COLUMNS", "factor_rows", "factors_page"]

FACTOR_COLUMNS = (
    Column("id", "Id"),
    Column("type", "Type"),
    Column("name", "Name"),
    Column("created_at", "Added"),
    Column("last_used_at", "Last used"),
)


def factor_rows(listed: pb.ListFactorsResponse) -> list[dict[str, object]]:
    """Return one row for each."""
    return [
        {
            "id": factor.id,
            "type": factor.kind,
            "name": factor.name,
            "created_at": format_timestamp(factor.created_at_ms),
            "last_used_at": format_timestamp(factor.last_used_at_ms) if factor.last_used_at_ms else None,
        }
        for factor in listed.factors
    ]


def factors_page(listed: pb.ListFactorsResponse) -> str:
    """Return where a user adds factors in the browser."""
    return escape_controls(f"{listed.web_url}/account/factors")
