# SPDX-License-Identifier: Apache-2.0
"""What a proof for a session is asked for, and what it looks like while it waits."""

from __future__ import annotations

import hashlib

import attrs

from mezite.core.durations import format_duration
from mezite.core.rbac.role_options import SessionMfa
from mezite.core.rbac.session_mfa import ProvenFor, SessionProof
from mezite.core.secret import Secret
from mezite.services.errors import InvalidRequestError
from mezite.storage.session_proofs import SessionProofRow

__all__ = ["PendingProof", "ProofRequest", "ProofView", "check_extent", "code_of", "covering", "proof_of"]

MAX_WINDOW_S = 3600
"""A run of Ansible, and not a working day: a certificate that is stolen with the laptop is good for no more."""

MAX_TARGETS = 1000
"""What a person can be said to have declared; some 30 KiB in the database."""

_LETTERS = "BCDFGHJKLMNPQRSTVWXZ"
"""Consonants: no words, nothing that looks like a digit."""


@attrs.frozen(kw_only=True)
class ProofRequest:
    """What a proof is to be for."""

    user_name: str
    needs: SessionMfa
    kind: ProvenFor
    targets: tuple[str, ...]
    """`NODE`, `LOGIN@NODE`, or the name of an application."""
    serial: str = ""
    """The certificate in use, decimal; empty: none."""
    bound_to: str = ""
    """The connection or web session; empty: any connection with that certificate."""
    window_seconds: int = 0
    """How long it is good for, for any number of connections; 0: for one."""
    client_address: str


@attrs.frozen(kw_only=True)
class PendingProof:
    """A proof that waits for its factor."""

    id: Secret
    """Good for nothing without the user's own session or the connection; kept secret all the same."""
    url: str
    """The page where a browser shows it."""
    code: str
    """To compare: the terminal and the page show the same."""
    factors: tuple[str, ...]
    """Those of the user's that would do: `totp`, `webauthn`."""
    expires_at: int
    """Milliseconds since 1970."""


@attrs.frozen(kw_only=True)
class ProofView:
    """A proof as the page shows it."""

    row: SessionProofRow
    code: str
    factors: tuple[str, ...]

    @property
    def state(self) -> str:
        """`pending`, `proven` or `refused`; one that is too late is not found."""
        if self.row.proven_at is not None:
            return "proven"
        return "pending" if self.row.refused_at is None else "refused"


def check_extent(request: ProofRequest) -> None:
    """:raises InvalidRequestError: it asks for too much at once."""
    if not 0 < len(request.targets) <= MAX_TARGETS:
        raise InvalidRequestError(f"name between 1 and {MAX_TARGETS} targets")
    if not 0 <= request.window_seconds <= MAX_WINDOW_S:
        raise InvalidRequestError(f"a factor is good for at most {format_duration(MAX_WINDOW_S)}")


def proof_of(row: SessionProofRow) -> SessionProof:
    """What `authorize()` wants, of a row that has been used."""
    if row.factor is None or row.proven_at is None:
        raise AssertionError("a factor was not shown")
    return SessionProof(
        user_name=row.user_name,
        factor=row.factor,
        at=row.proven_at,
        kind=row.kind,
        targets=frozenset(row.targets),
        serial=row.serial,
    )


def covering(row: SessionProofRow) -> bytes:
    """All that the proof is bound to, in one spelling: a key that signs it signs for nothing else."""
    words = (row.token_hash, row.user_name, row.kind.value, row.serial, row.bound_to, *row.targets)
    return "\0".join(words).encode()


def code_of(row: SessionProofRow) -> str:
    """Eight letters, made from what is stored: every hub shows the same."""
    digest = hashlib.sha256(b"code\0" + covering(row)).digest()
    letters = "".join(_LETTERS[byte % len(_LETTERS)] for byte in digest[:8])
    return f"{letters[:4]}-{letters[4:]}"
