# SPDX-License-Identifier: Apache-2.0
"""Access requests and what reviewers said about them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Boolean, Column, ForeignKey, Index, PrimaryKeyConstraint, Table, Text

from mezite.core.access_request import RequestState
from mezite.storage.json_columns import EnumText, StringList
from mezite.storage.schema.metadata import metadata

__all__ = ["access_request_reviews", "access_requests", "webhook_outbox"]

access_requests = Table(
    "access_requests",
    metadata,
    Column("request_id", Text, primary_key=True),
    # A name that is given away again is another user: what the first one asked for goes with them (threat E6).
    Column("user_name", Text, ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
    Column("roles", StringList, nullable=False),
    Column("nodes", StringList, nullable=False),
    Column("reason", Text, nullable=False),
    Column("ttl_seconds", BigInteger, nullable=False),
    Column("extends", Text),
    Column("state", EnumText(RequestState), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    # Of the wait while it is pending, of the granted time once it is approved.
    Column("ends_at", BigInteger, nullable=False),
    Column("approved_at", BigInteger),
    Column("closed_at", BigInteger),
    Column("closed_by", Text),
    Column("closing_reason", Text),
    Column("review_count", BigInteger, nullable=False, server_default="0"),
    Index("ix_access_requests_user_name", "user_name", "created_at"),
    Index("ix_access_requests_state_ends_at", "state", "ends_at"),
)

access_request_reviews = Table(
    "access_request_reviews",
    metadata,
    Column("request_id", Text, ForeignKey("access_requests.request_id", ondelete="CASCADE"), nullable=False),
    Column("reviewer", Text, nullable=False),
    Column("approves", Boolean, nullable=False),
    Column("parts", StringList, nullable=False),
    Column("reason", Text, nullable=False),
    Column("reviewed_at", BigInteger, nullable=False),
    PrimaryKeyConstraint("request_id", "reviewer"),
)

webhook_outbox = Table(
    "webhook_outbox",
    metadata,
    Column("delivery_id", Text, primary_key=True),
    Column("body", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("attempts", BigInteger, nullable=False, server_default="0"),
    Column("next_attempt_at", BigInteger, nullable=False),
    Index("ix_webhook_outbox_next_attempt_at", "next_attempt_at"),
)
