# SPDX-License-Identifier: Apache-2.0
"""Users as administrators manage them."""

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mezite.services.errors import ConflictError, InvalidRequestError, NotFoundError, UnauthenticatedError
from mezite.services.login.password_login import LoginRefusedError
from mezite.services.users.accounts import INVITE_MS, MAX_TRAITS_BYTES
from mezite.storage import invites, users
from mezite.storage.users import NewUser
from tests.services.world import CLIENT, PASSWORD, START, copy_template, open_world


async def create(world, name="alice", **changes):
    wanted = {"roles": ("access",), "traits": {}, "by": "root", "client_address": CLIENT} | changes
    return await world.accounts.create(name, **wanted)


async def update(world, name="alice", **changes):
    wanted = {"roles": None, "traits": None, "by": "root", "client_address": CLIENT} | changes
    return await world.accounts.update(name, **wanted)


async def test_a_user_with_a_password(world):
    created = await create(world, password=PASSWORD, traits={"logins": ("ubuntu", "root")})
    assert (created.invite_token, created.invite_expires_at) == (None, 0)
    assert (created.user.name, created.user.roles) == ("alice", ("access",))
    assert created.user.traits == {"logins": ("ubuntu", "root")}
    assert PASSWORD not in repr(created)
    (event,) = await world.events("user.created")
    assert (event["user_name"], event["resource_name"], event["roles"]) == ("root", "alice", ["access"])
    assert event["client_ip"] == "192.0.2.7"


async def test_a_user_with_an_invite(world):
    created = await create(world)
    token = created.invite_token.reveal()
    assert len(token) == 64
    assert token not in repr(created)
    assert created.invite_expires_at == START + INVITE_MS
    (invite,) = await world.database.read(invites.list_of_user, user_name="alice")
    assert token not in str(invite)
    assert token not in str(await world.events())


@pytest.mark.parametrize("name", ["", "-x", "a b", "a/b", "ü", "a\0", "x" * 129, "a,b", "*"])
async def test_bad_names(world, name):
    with pytest.raises(InvalidRequestError, match="user name"):
        await create(world, name)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"roles": ("boss",)}, "role 'boss' does not exist: there are access, admin"),
        ({"roles": ("admin", "admin")}, "listed twice"),
        ({"password": "short"}, "at least 12"),
        ({"traits": {"": ("x",)}}, "trait name"),
        ({"traits": {"logins": ("-oProxyCommand=x",)}}, "login"),
        ({"traits": {"logins": ("a,b",)}}, "login"),
        ({"traits": {"team": ("x" * 257,)}}, "256"),
        ({"traits": {"team": tuple(str(number) for number in range(257))}}, "256"),
        ({"traits": {"team": tuple("x" * 250 for _ in range(40))}}, "fit a certificate"),
    ],
)
async def test_what_is_refused_at_creation_is_refused_in_an_update(world, changes, message):
    with pytest.raises(InvalidRequestError, match=message):
        await create(world, **changes)
    with pytest.raises(NotFoundError):
        await world.accounts.get("alice")
    await create(world, password=PASSWORD)
    with pytest.raises(InvalidRequestError, match=message):
        await update(world, **changes)
    assert await world.events("user.updated") == []


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(
        st.sampled_from(["logins", "team", "https://example.com/groups"]),
        st.lists(st.from_regex(r"[a-z][a-z0-9]{0,60}", fullmatch=True), unique=True, max_size=256).map(tuple),
    )
)
def test_whatever_is_accepted_fits_certificates(world_template, tmp_path_factory, traits):
    """A user that can be stored can log in to a node: nothing is found out only when certificates are made."""

    async def play():
        async with open_world(copy_template(world_template, tmp_path_factory.mktemp("fit"))) as world:
            try:
                await create(world, password=PASSWORD, traits=traits)
            except InvalidRequestError as refused:
                assert "fit a certificate" in str(refused) or "256" in str(refused)
                return
            issued = await world.issue(await world.session("alice"))
            assert world.verified_ssh(issued).traits == traits
            await world.by_certificate(issued)

    trio.run(play)


async def test_the_largest_traits_fit_certificates(world):
    logins = tuple(f"login-{number:03}-{'x' * 10}" for number in range(240))
    while len(str(logins)) > MAX_TRAITS_BYTES - 200:
        logins = logins[:-1]
    await create(world, password=PASSWORD, traits={"logins": logins})
    issued = await world.issue(await world.session("alice"))
    assert world.verified_ssh(issued).principals == logins
    await world.by_certificate(issued)


async def test_a_name_is_taken_once(world):
    await create(world, password=PASSWORD)
    with pytest.raises(ConflictError, match="alice exists already"):
        await create(world, roles=("admin",))
    assert (await world.accounts.get("alice")).roles == ("access",)
    await create(world, "Alice")


async def test_the_list_has_all_users(world):
    def many(conn):
        for number in range(1001):
            users.insert(conn, user=NewUser(name=f"u{number:04}"), now=START)

    await world.database.write(many)
    names = [row.name for row in await world.accounts.list_users()]
    assert (len(names), names[0], names[-1]) == (1001, "u0000", "u1000")


async def test_an_update_changes_what_is_given(world):
    await create(world, password=PASSWORD, traits={"team": ("a",)})
    row = await update(world, roles=("auditor",))
    assert (row.roles, row.traits) == (("auditor",), {"team": ("a",)})
    row = await update(world, traits={})
    assert (row.roles, row.traits) == (("auditor",), {})
    assert [event["roles"] for event in await world.events("user.updated")] == [["auditor"]] * 2


async def test_a_new_password_ends_the_sessions(world):
    await create(world, password=PASSWORD)
    token = await world.token("alice")
    await update(world, password="a whole new password")
    with pytest.raises(UnauthenticatedError):
        await world.authenticator.by_session(token)
    with pytest.raises(LoginRefusedError):
        await world.session("alice")


async def test_new_roles_count_at_once(world):
    """Threat E6: a session has the roles of now."""
    await create(world, password=PASSWORD)
    token = await world.token("alice")
    await update(world, roles=("auditor",))
    assert (await world.authenticator.by_session(token)).roles == ("auditor",)


async def test_unknown_users(world):
    for call in (
        world.accounts.get("nobody"),
        update(world, "nobody", roles=()),
        update(world, "nobody", password=PASSWORD),
        world.accounts.delete("nobody", by=await world.user("root"), client_address=CLIENT),
    ):
        with pytest.raises(NotFoundError, match="nobody"):
            await call


async def test_a_deleted_user_is_gone_with_all_sessions(world):
    root = await world.user("root", roles=("admin",))
    await create(world, password=PASSWORD)
    token = await world.token("alice")
    await world.accounts.delete("alice", by=root, client_address=CLIENT)
    with pytest.raises(UnauthenticatedError):
        await world.authenticator.by_session(token)
    (event,) = await world.events("user.deleted")
    assert (event["user_name"], event["resource_name"]) == ("root", "alice")


async def test_nobody_deletes_themselves(world):
    root = await world.user("root", roles=("admin",))
    with pytest.raises(InvalidRequestError, match="yourself"):
        await world.accounts.delete("root", by=root, client_address=CLIENT)
    assert (await world.accounts.get("root")).name == "root"
