# SPDX-License-Identifier: Apache-2.0
import attrs

from mezite.storage import sso_identities, users
from mezite.storage.sso_identities import SsoIdentityRow
from mezite.storage.users import NewUser

NOW = 1_790_000_000_000
ROW = SsoIdentityRow(
    issuer="https://login.example.com",
    subject="1",
    user_name="alice",
    connector="keycloak",
    created_at=NOW,
    last_login_at=NOW,
)


async def add_user(db, name):
    return await db.write(users.insert, user=NewUser(name=name, origin="keycloak"), now=NOW)


async def test_a_user_is_found_by_issuer_and_subject(db):
    """Threat E5."""
    user = await add_user(db, "alice")
    assert (user.origin, user.claims) == ("keycloak", user.traits)
    assert await db.write(sso_identities.insert, identity=ROW)
    assert await db.read(sso_identities.get, issuer=ROW.issuer, subject="1") == ROW
    assert await db.read(sso_identities.get, issuer=ROW.issuer + "/", subject="1") is None
    assert await db.read(sso_identities.get, issuer=ROW.issuer, subject="2") is None
    assert await db.read(sso_identities.get_of_user, user_name="alice") == ROW
    assert await db.read(sso_identities.get_of_user, user_name="bob") is None


async def test_a_subject_has_one_user_and_a_user_one_subject(db):
    await add_user(db, "alice")
    await add_user(db, "bob")
    assert await db.write(sso_identities.insert, identity=ROW)
    assert not await db.write(sso_identities.insert, identity=attrs.evolve(ROW, user_name="bob"))
    assert not await db.write(sso_identities.insert, identity=attrs.evolve(ROW, subject="2"))


async def test_logins_are_noted_and_the_identity_goes_with_its_user(db):
    await add_user(db, "alice")
    await db.write(sso_identities.insert, identity=ROW)
    await db.write(sso_identities.note_login, identity=ROW, connector="other", now=NOW + 9)
    noted = await db.read(sso_identities.get, issuer=ROW.issuer, subject="1")
    assert noted == attrs.evolve(ROW, connector="other", last_login_at=NOW + 9)
    await db.write(users.delete, name="alice")
    assert await db.read(sso_identities.get, issuer=ROW.issuer, subject="1") is None
