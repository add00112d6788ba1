# SPDX-License-Identifier: Apache-2.0
"""Every table, once; a module for each area. The migrations in `migrations/versions` build the same (a test compares).

Times are BIGINT milliseconds since the epoch. Secrets that users or agents hold (join tokens, invites, web
sessions) are kept only as SHA-256 in lower-case hex, and a CHECK on the length keeps a raw token out (threat
E11). A new area is imported here, so that `metadata` knows it.
"""

from mezite.storage.schema.accounts import WebSessionKind, invites, roles, users, web_sessions
from mezite.storage.schema.app_access import app_codes, app_logins, app_sessions
from mezite.storage.schema.apps import app_health, apps
from mezite.storage.schema.audit import audit_events
from mezite.storage.schema.authorities import AuthorityState, certificate_authorities
from mezite.storage.schema.devices import devices
from mezite.storage.schema.factors import (
    ChallengeAction,
    FactorKind,
    factors,
    mfa_challenges,
    recovery_codes,
)
from mezite.storage.schema.locks import access_changes, lock_effects, locks
from mezite.storage.schema.machines import machine_identities
from mezite.storage.schema.metadata import metadata
from mezite.storage.schema.nodes import (
    NodeSessionKind,
    agents,
    join_tokens,
    live_connections,
    node_sessions,
)
from mezite.storage.schema.requests import access_request_reviews, access_requests, webhook_outbox
from mezite.storage.schema.session_proofs import session_proofs
from mezite.storage.schema.sso import connectors, sso_client_logins, sso_identities, sso_round_trips

__all__ = [
    "AuthorityState",
    "ChallengeAction",
    "FactorKind",
    "NodeSessionKind",
    "WebSessionKind",
    "access_changes",
    "access_request_reviews",
    "access_requests",
    "agents",
    "app_codes",
    "app_health",
    "app_logins",
    "app_sessions",
    "apps",
    "audit_events",
    "certificate_authorities",
    "connectors",
    "devices",
    "factors",
    "invites",
    "join_tokens",
    "live_connections",
    "lock_effects",
    "locks",
    "machine_identities",
    "metadata",
    "mfa_challenges",
    "node_sessions",
    "recovery_codes",
    "roles",
    "session_proofs",
    "sso_client_logins",
    "sso_identities",
    "sso_round_trips",
    "users",
    "web_sessions",
    "webhook_outbox",
]
