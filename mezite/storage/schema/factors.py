# SPDX-License-Identifier: Apache-2.0
"""Second factors, recovery codes, and what is under way with them."""

from __future__ import annotations

import enum

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    LargeBinary,
    Table,
    Text,
)

from mezite.storage.json_columns import EnumText
from mezite.storage.schema.metadata import HASH_LENGTH, metadata

__all__ = ["ChallengeAction", "FactorKind", "factors", "mfa_challenges", "recovery_codes"]


class FactorKind(enum.StrEnum):
    """What a second factor is."""

    TOTP = "totp"
    """Codes of an authenticator application."""
    WEBAUTHN = "webauthn"
    """A security key, or what a browser or telephone has in its place."""


class ChallengeAction(enum.StrEnum):
    """What a challenge may be answered for: for nothing else (threat E7)."""

    LOGIN = "login"
    ADD_TOTP = "add totp"
    ADD_WEBAUTHN = "add webauthn"
    PROOF = "proof"
    """To show, within a session, that the factor is still in the user's hands."""
    DEVICE = "device"
    """To show that a device holds its key."""
    SESSION = "session"
    """To show a factor for one session on a node or an application."""


factors = Table(
    "factors",
    metadata,
    Column("id", Text, primary_key=True),
    Column("user_name", Text, ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
    Column("kind", EnumText(FactorKind), nullable=False),
    Column("name", Text, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("last_used_at", BigInteger),
    # TOTP: the sealed secret, and the newest step that was accepted.
    Column("secret", LargeBinary),
    Column("last_step", BigInteger),
    # WebAuthn: the credential's id in base64url, its COSE key, its counter, whether it verifies its user.
    Column("credential_id", Text),
    Column("public_key", LargeBinary),
    Column("sign_count", BigInteger),
    Column("verifies_user", Boolean),
    CheckConstraint(
        "(kind = 'totp' AND secret IS NOT NULL AND last_step IS NOT NULL AND credential_id IS NULL)"
        " OR (kind = 'webauthn' AND secret IS NULL AND credential_id IS NOT NULL"
        " AND public_key IS NOT NULL AND sign_count IS NOT NULL AND verifies_user IS NOT NULL)",
        name="kind",
    ),
    Index("ix_factors_user_name", "user_name"),
    # One key is one user's: it must not open two accounts.
    Index("uq_factors_credential_id", "credential_id", unique=True),
)

recovery_codes = Table(
    "recovery_codes",
    metadata,
    Column("token_hash", Text, primary_key=True),
    Column("user_name", Text, ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("used_at", BigInteger),
    CheckConstraint(HASH_LENGTH, name="token_hash"),
    Index("ix_recovery_codes_user_name", "user_name"),
)

mfa_challenges = Table(
    "mfa_challenges",
    metadata,
    Column("token_hash", Text, primary_key=True),
    Column("user_name", Text, ForeignKey("users.name", ondelete="CASCADE"), nullable=False),
    # The credential with which it was asked for: the hash of a session, or a word for what has none.
    Column("bound_to", Text, nullable=False),
    Column("action", EnumText(ChallengeAction), nullable=False),
    # What to sign (WebAuthn), or the sealed secret that becomes a factor (TOTP).
    Column("payload", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger, nullable=False),
    Column("used_at", BigInteger),
    CheckConstraint(HASH_LENGTH, name="token_hash"),
    Index("ix_mfa_challenges_user_name", "user_name"),
    Index("ix_mfa_challenges_expires_at", "expires_at"),
)
