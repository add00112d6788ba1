# SPDX-License-Identifier: Apache-2.0
"""Connectors as administrators manage them: identity providers through which users sign in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from mezite.core.audit.event_types import EventType
from mezite.core.oidc.connector import Connector
from mezite.core.oidc.connector_document import ConnectorProblems, connector_document, parse_connector
from mezite.core.sealing import NO_SECRET, SealedSecretError, seal, unseal
from mezite.core.secret import Secret
from mezite.services.audit_log import AuditLog
from mezite.services.errors import ConflictError, InvalidRequestError, NotFoundError, UnavailableError
from mezite.services.identity.role_definitions import definitions
from mezite.services.sources import Sources
from mezite.storage import connectors
from mezite.storage.connectors import ConnectorRow
from mezite.storage.database import Database
from mezite.storage.json_columns import stable_json

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = ["LOCAL", "ConnectorCatalog", "KnownConnector"]

LOCAL = "local"
"""What stands for no connector: logging in at the hub's own pages. No connector is called so."""

MAX_DOCUMENT = 128 * 1024
"""Bytes; 256 rules of each kind and a bundle of roots fit."""

MAX_CONNECTORS = 64
"""Each is a button on the login page, and each keeps its provider's keys in memory."""


@attrs.frozen(kw_only=True)
class KnownConnector:
    """A connector that users can sign in through."""

    connector: Connector
    has_secret: bool
    created_at: int
    """Milliseconds."""
    updated_at: int
    """Grows with each change: it tells versions of a connector apart."""

    @property
    def document(self) -> str:
        """The connector as JSON, without the client secret."""
        return stable_json(connector_document(self.connector))


class ConnectorCatalog:
    """Create, list, change and delete connectors. A change counts from the next login on."""

    def __init__(
        self, *, database: Database, audit: AuditLog, sources: Sources, passphrase: Secret | None
    ) -> None:
        """`passphrase` is `ca_key_passphrase`: client secrets are encrypted with it, or kept as they are."""
        self._database = database
        self._audit = audit
        self._sources = sources
        self._passphrase = None if passphrase is None else passphrase.reveal().encode()

    async def list_connectors(self) -> list[KnownConnector]:
        """Return all connectors by name, without their secrets."""
        return [_known(row) for row in await self._database.read(connectors.list_all)]

    async def get(self, name: str) -> KnownConnector:
        """Return a connector without its secret. :raises NotFoundError: there is none of that name."""
        row = await self._database.read(connectors.get, name=name)
        if row is None:
            raise _no_such_connector(name)
        return _known(row)

    async def open(self, name: str) -> KnownConnector:
        """Return a connector with its client secret, for talking to the provider.

        :raises NotFoundError: there is none of that name.
        :raises UnavailableError: the secret cannot be decrypted.
        """

        # In the database's thread, because opening a secret takes a moment on purpose.
        def look_up(conn: Connection) -> tuple[ConnectorRow, str] | None:
            row = connectors.get(conn, name=name)
            return None if row is None else (row, unseal(row.secret, self._passphrase, name))

        try:
            found = await self._database.read(look_up)
        except SealedSecretError as error:
            raise UnavailableError(f"the client secret of connector {name} cannot be used: {error}") from None
        if found is None:
            raise _no_such_connector(name)
        known = _known(found[0])
        return attrs.evolve(known, connector=attrs.evolve(known.connector, client_secret=Secret(found[1])))

    async def put(self, document: str, *, by: str, client_address: str) -> tuple[KnownConnector, bool]:
        """Create the connector of a JSON document or replace it; return it, and whether it is new.

        A document without a client secret keeps the stored one, unless it names another provider or client: then
        the secret would go to whom it was not meant for.

        :raises InvalidRequestError: the document is no connector, or a role in it does not exist.
        :raises ConflictError: there are too many already.
        """
        connector = _checked(document)
        now = self._sources.now()

        def store(conn: Connection) -> tuple[ConnectorRow, bool]:
            _check_roles(conn, connector)
            before = connectors.get(conn, name=connector.name)
            if before is None and connectors.count(conn) >= MAX_CONNECTORS:
                raise ConflictError(f"there are {MAX_CONNECTORS} connectors: delete one that is not used")
            secret = self._sealed(connector)
            if before is not None and not connector.client_secret and _same_client(_known(before), connector):
                secret = before.secret
            row = ConnectorRow(
                name=connector.name,
                kind=connector.kind.value,
                document=stable_json(connector_document(connector)),
                secret=secret,
                created_at=now,
                updated_at=now,
            )
            return connectors.put(conn, connector=row)

        stored, created = await self._database.write(store)
        event = EventType.CONNECTOR_CREATED if created else EventType.CONNECTOR_UPDATED
        await self._record(event, connector.name, by, client_address, issuer=connector.issuer)
        return _known(stored), created

    async def delete(self, name: str, *, by: str, client_address: str) -> None:
        """Delete a connector; its users stay and cannot sign in through it any more.

        :raises NotFoundError: there is none of that name.
        """
        if not await self._database.write(connectors.delete, name=name):
            raise _no_such_connector(name)
        await self._record(EventType.CONNECTOR_DELETED, name, by, client_address)

    def _sealed(self, connector: Connector) -> str:
        if not connector.client_secret:
            return NO_SECRET
        secret = connector.client_secret.reveal()
        return seal(secret, self._passphrase, connector.name, self._sources.token_bytes)

    async def _record(
        self, event_type: EventType, name: str, by: str, client_address: str, **details: object
    ) -> None:
        await self._audit.emit(
            event_type,
            user_name=by,
            resource_type="connector",
            resource_name=name,
            client_ip=client_address,
            **details,
        )


def _no_such_connector(name: str) -> NotFoundError:
    return NotFoundError(
        f"connector {name[:64]} does not exist: `mezctl connectors ls` shows the connectors there are"
    )


def _known(row: ConnectorRow) -> KnownConnector:
    return KnownConnector(
        connector=parse_connector(json.loads(row.document)),
        has_secret=row.secret != NO_SECRET,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def _same_client(before: KnownConnector, connector: Connector) -> bool:
    old = before.connector
    return (old.provider_key, old.client_id) == (connector.provider_key, connector.client_id)


def _checked(document: str) -> Connector:
    if len(document) > MAX_DOCUMENT:
        raise InvalidRequestError(f"the connector is larger than {MAX_DOCUMENT // 1024} KiB")
    try:
        parsed: Mapping[str, Any] = json.loads(document)
        connector = parse_connector(parsed)
    except ConnectorProblems as problems:
        raise InvalidRequestError(str(problems).replace("\n", " | ")) from None
    except (ValueError, RecursionError):
        raise InvalidRequestError("the connector is not JSON") from None
    if connector.name == LOCAL:
        raise InvalidRequestError(
            f"{LOCAL} is what logging in without a connector is called: choose another name"
        )
    return connector


def _check_roles(conn: Connection, connector: Connector) -> None:
    """In the transaction that stores the connector, so that none is deleted meanwhile."""
    wanted = tuple(dict.fromkeys(role for rule in connector.role_rules for role in rule.roles))
    existing = {role.name for role in definitions(conn, wanted)}
    for role in wanted:
        if role not in existing:
            raise InvalidRequestError(
                f"role {role} does not exist: `mezctl roles ls` shows the roles there are"
            )
