# SPDX-License-Identifier: Apache-2.0
"""Logins under way: round trips of a browser to a provider, and clients (`msh`) that wait for one.

Everything here is one-time and consumed by conditional updates (threat E10). Of states, handles and codes only the
SHA-256 is kept; what a round trip needs besides is derived from the secret in the browser's cookie.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from sqlalchemy import delete, func, select, update

from mezite.storage.errors import AlreadyExistsError
from mezite.storage.one_time import ConsumeFailure, consume_once
from mezite.storage.rows import first_row, insert_if_absent, require_token_hash
from mezite.storage.schema import sso_client_logins as client_logins
from mezite.storage.schema import sso_round_trips as round_trips

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

__all__ = [
    "ClientLoginRow",
    "RoundTripRow",
    "approve_client",
    "consume_client",
    "consume_round_trip",
    "count_live",
    "delete_stale",
    "get_client",
    "get_client_by_code",
    "insert_client",
    "insert_round_trip",
    "propose_user",
    "refuse_client",
]


@attrs.frozen(kw_only=True)
class RoundTripRow:
    """A browser on its way to a provider and back; `token_hash` is of the state. Times in ms."""

    token_hash: str
    browser_hash: str
    connector: str
    connector_version: int
    """`updated_at` of the connector: what comes back belongs to that version of it."""
    return_to: str
    client_login: str | None
    """`token_hash` of the client login that this is for; None: the browser itself signs in."""
    client_ip: str
    created_at: int
    expires_at: int
    used_at: int | None = None


@attrs.frozen(kw_only=True)
class ClientLoginRow:
    """A client that waits for somebody to sign in; `token_hash` is of its handle. Times in ms."""

    token_hash: str
    connector: str
    challenge: str
    """SHA-256 of the secret that only the client knows."""
    ssh_public_key: str
    tls_public_key_pem: str
    ttl_seconds: int
    callback_url: str
    """On the client's loopback; empty for a client without a browser."""
    user_code: str | None
    """To be entered by the person; None for a client with a browser."""
    client_ip: str
    created_at: int
    expires_at: int
    user_name: str | None = None
    """Who has signed in for it."""
    code_hash: str | None = None
    """Of what approves it, and with a browser also fetches it."""
    approved_at: int | None = None
    refused_at: int | None = None
    used_at: int | None = None


def insert_round_trip(conn: Connection, *, trip: RoundTripRow) -> None:
    """Insert. AlreadyExistsError when the state is known."""
    require_token_hash(trip.token_hash)
    if insert_if_absent(conn, round_trips, attrs.asdict(trip)) is None:
        raise AlreadyExistsError("login", trip.token_hash[:8])


def consume_round_trip(conn: Connection, *, token_hash: str, now: int) -> RoundTripRow | ConsumeFailure:
    """Use it up: exactly one of any number of concurrent calls gets the row."""
    row = consume_once(conn, round_trips, token_hash, now=now)
    return row if isinstance(row, ConsumeFailure) else RoundTripRow(**row._mapping)


def insert_client(conn: Connection, *, login: ClientLoginRow) -> None:
    """Insert. AlreadyExistsError when the handle or the user code is taken."""
    require_token_hash(login.token_hash)
    if insert_if_absent(conn, client_logins, attrs.asdict(login)) is None:
        raise AlreadyExistsError("client login", login.token_hash[:8])


def get_client(conn: Connection, *, token_hash: str, now: int) -> ClientLoginRow | None:
    """The client login if it has neither expired nor been used, else None."""
    statement = select(client_logins).where(client_logins.c.token_hash == token_hash, *_live(now))
    return first_row(ClientLoginRow, conn.execute(statement))


def get_client_by_code(conn: Connection, *, user_code: str, now: int) -> ClientLoginRow | None:
    """The same by the code that a person enters."""
    statement = select(client_logins).where(client_logins.c.user_code == user_code, *_live(now))
    return first_row(ClientLoginRow, conn.execute(statement))


def propose_user(
    conn: Connection, *, token_hash: str, user_name: str, code_hash: str, approved: bool, now: int
) -> bool:
    """Somebody has signed in for the client; with `approved` that is all it takes.

    False when the login is over, or somebody else was first.
    """
    require_token_hash(code_hash)
    statement = update(client_logins).where(
        client_logins.c.token_hash == token_hash, client_logins.c.user_name.is_(None), *_live(now)
    )
    values = {"user_name": user_name, "code_hash": code_hash, "approved_at": now if approved else None}
    return conn.execute(statement.values(values)).rowcount == 1


def approve_client(conn: Connection, *, code_hash: str, now: int) -> ClientLoginRow | None:
    """The person has confirmed the client; the row, or None when there is none to confirm."""
    statement = update(client_logins).where(*_undecided(code_hash, now)).values(approved_at=now)
    return first_row(ClientLoginRow, conn.execute(statement.returning(*client_logins.c)))


def refuse_client(conn: Connection, *, code_hash: str, now: int) -> ClientLoginRow | None:
    """The person does not know the client; the row, or None when there is none to refuse."""
    statement = update(client_logins).where(*_undecided(code_hash, now)).values(refused_at=now)
    return first_row(ClientLoginRow, conn.execute(statement.returning(*client_logins.c)))


def consume_client(conn: Connection, *, token_hash: str, now: int) -> ClientLoginRow | ConsumeFailure:
    """Use it up, once it is approved: exactly one of any number of concurrent calls gets the row.

    UNKNOWN also for one that is not approved.
    """
    if (
        conn.execute(
            select(client_logins.c.approved_at).where(client_logins.c.token_hash == token_hash)
        ).scalar()
        is None
    ):
        return ConsumeFailure.UNKNOWN
    row = consume_once(conn, client_logins, token_hash, now=now)
    return row if isinstance(row, ConsumeFailure) else ClientLoginRow(**row._mapping)


def count_live(conn: Connection, *, now: int) -> int:
    """How many logins of both kinds are under way, used ones included."""
    trips = select(func.count()).select_from(round_trips).where(round_trips.c.expires_at > now)
    clients = select(func.count()).select_from(client_logins).where(client_logins.c.expires_at > now)
    return conn.execute(trips).scalar_one() + conn.execute(clients).scalar_one()


def delete_stale(conn: Connection, *, before: int) -> None:
    """Delete what expired before that time."""
    conn.execute(delete(round_trips).where(round_trips.c.expires_at < before))
    conn.execute(delete(client_logins).where(client_logins.c.expires_at < before))


def _live(now: int) -> tuple[ColumnElement[bool], ...]:
    return (client_logins.c.used_at.is_(None), client_logins.c.expires_at > now)


def _undecided(code_hash: str, now: int) -> tuple[ColumnElement[bool], ...]:
    columns = client_logins.c
    return (
        columns.code_hash == code_hash,
        columns.approved_at.is_(None),
        columns.refused_at.is_(None),
        *_live(now),
    )
