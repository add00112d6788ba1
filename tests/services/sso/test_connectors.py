# SPDX-License-Identifier: Apache-2.0
"""Connectors as administrators manage them."""

import json

import pytest

from mezite.core.secret import Secret
from mezite.services.errors import ConflictError, InvalidRequestError, NotFoundError, UnavailableError
from mezite.services.sso import connectors as module
from mezite.services.sso.connectors import ConnectorCatalog
from mezite.storage import connectors
from tests.core.oidc.documents import GITHUB, ISSUER, OIDC, oidc
from tests.services.world import CLIENT, START


def catalog_of(world, passphrase=None):
    secret = None if passphrase is None else Secret(passphrase)
    return ConnectorCatalog(
        database=world.database, audit=world.audit, sources=world.sources, passphrase=secret
    )


@pytest.fixture
def catalog(world):
    return catalog_of(world)


async def put(catalog, document):
    return await catalog.put(json.dumps(document), by="root", client_address=CLIENT)


async def test_from_creation_to_deletion(world, catalog):
    known, created = await put(catalog, OIDC)
    assert (created, known.has_secret, known.created_at, known.updated_at) == (True, True, START, START)
    assert known.connector.name == "keycloak"
    assert await catalog.get("keycloak") == known
    world.clock.now += 5
    again, created = await put(catalog, oidc(display_name="Login"))
    assert (created, again.connector.title, again.created_at, again.updated_at) == (
        False,
        "Login",
        START,
        START + 5,
    )
    await put(catalog, GITHUB)
    assert [each.connector.name for each in await catalog.list_connectors()] == ["github", "keycloak"]
    await catalog.delete("keycloak", by="root", client_address=CLIENT)
    for call in (catalog.get, catalog.open):
        with pytest.raises(NotFoundError, match="connector keycloak does not exist"):
            await call("keycloak")
    with pytest.raises(NotFoundError):
        await catalog.delete("keycloak", by="root", client_address=CLIENT)
    events = [event for event in await world.events() if event["event_type"].startswith("connector.")]
    assert [(event["event_type"], event["resource_name"], event["user_name"]) for event in events] == [
        ("connector.created", "keycloak", "root"),
        ("connector.updated", "keycloak", "root"),
        ("connector.created", "github", "root"),
        ("connector.deleted", "keycloak", "root"),
    ]
    assert events[0]["issuer"] == ISSUER
    assert "s3cret" not in json.dumps(events)


@pytest.mark.parametrize("passphrase", [None, "correct horse"])
async def test_the_secret_is_for_the_provider_only(world, passphrase):
    """Threat H6."""
    catalog = catalog_of(world, passphrase)
    known, _ = await put(catalog, OIDC)
    assert (await catalog.open("keycloak")).connector.client_secret.reveal() == "s3cret"
    assert not known.connector.client_secret
    assert "s3cret" not in known.document
    row = await world.database.read(connectors.get, name="keycloak")
    assert "s3cret" not in row.document
    assert (row.secret == "plain:s3cret") == (passphrase is None)


async def test_a_secret_that_another_passphrase_has_sealed(world):
    await put(catalog_of(world, "correct horse"), OIDC)
    for passphrase in (None, "wrong horse"):
        with pytest.raises(UnavailableError, match="client secret of connector keycloak cannot be used"):
            await catalog_of(world, passphrase).open("keycloak")
    assert (await catalog_of(world).get("keycloak")).has_secret


async def test_a_document_without_a_secret_keeps_it_for_the_same_provider_and_client(catalog):
    """A secret is never sent to whom it was not meant for."""
    for change, kept in (
        ({"display_name": "x"}, True),
        ({"client_id": "other"}, False),
        ({"issuer": "https://evil.example"}, False),
    ):
        await put(catalog, OIDC)
        await put(catalog, oidc(client_secret=None, **change))
        assert bool((await catalog.open("keycloak")).connector.client_secret) == kept, change
        assert (await catalog.get("keycloak")).has_secret == kept
    await put(catalog, oidc(client_secret="new"))
    assert (await catalog.open("keycloak")).connector.client_secret.reveal() == "new"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("x" * 200_000, "larger than 128 KiB"),
        ("{}", "kind: expected oidc or github"),
        (json.dumps(oidc(issuer="http://x")), "spec.issuer: cannot be used"),
        (
            json.dumps(oidc(claims_to_roles=[{"claim": "g", "value": "a", "roles": ["access", "nobody"]}])),
            "role nobody does not exist",
        ),
    ],
)
async def test_what_is_not_stored(catalog, document, message):
    with pytest.raises(InvalidRequestError, match=message):
        await catalog.put(document, by="root", client_address=CLIENT)
    assert await catalog.list_connectors() == []


async def test_there_are_not_too_many(catalog, monkeypatch):
    monkeypatch.setattr(module, "MAX_CONNECTORS", 1)
    await put(catalog, OIDC)
    await put(catalog, OIDC)
    with pytest.raises(ConflictError, match="there are 1 connectors"):
        await put(catalog, GITHUB)
