# SPDX-License-Identifier: Apache-2.0
"""Roles as administrators manage them, and that a change counts at once."""

import json

import pytest

from mezite.core.rbac.roles import BUILT_IN_ROLES
from mezite.services.access.authorization import AccessContext, Resource, authorize
from mezite.services.access.roles import MAX_DOCUMENT
from mezite.services.errors import ConflictError, InvalidRequestError, NotFoundError
from tests.services.world import CLIENT, MINUTE, START


def document(name="dev", *, labels=None, logins=("ubuntu",), options=None, deny=None):
    spec = {
        "options": options or {},
        "allow": {"node_labels": labels or {"*": "*"}, "logins": list(logins)},
        "deny": deny or {},
    }
    return json.dumps({"kind": "role", "version": "v1", "metadata": {"name": name}, "spec": spec})


async def put(world, text):
    return await world.roles.put(text, by="root", client_address=CLIENT)


async def test_a_role_from_creation_to_deletion(world):
    known, created = await put(world, document())
    assert (created, known.role.name, known.built_in) == (True, "dev", False)
    assert (known.created_at, known.updated_at) == (START, START)
    world.clock.now += MINUTE
    known, created = await put(world, document(logins=["deploy"]))
    assert (created, known.created_at, known.updated_at) == (False, START, START + MINUTE)
    assert await world.roles.get("dev") == known
    assert known.role.allow.logins == ("deploy",)
    assert (await put(world, known.document))[0].role == known.role
    names = [each.role.name for each in await world.roles.list_roles()]
    assert names == [*sorted(BUILT_IN_ROLES), "dev"]
    await world.roles.delete("dev", by="root", client_address=CLIENT)
    with pytest.raises(NotFoundError, match="role dev does not exist"):
        await world.roles.get("dev")
    for event, count in (("role.created", 1), ("role.updated", 2), ("role.deleted", 1)):
        events = await world.events(event)
        assert [(each["user_name"], each["resource_name"]) for each in events] == [("root", "dev")] * count


async def test_built_in_roles_stay(world):
    assert (await world.roles.get("admin")).built_in
    with pytest.raises(ConflictError, match="role admin is built in: choose another name"):
        await put(world, document("admin"))
    with pytest.raises(ConflictError, match="role admin is built in: it cannot be deleted"):
        await world.roles.delete("admin", by="root", client_address=CLIENT)


async def test_a_role_that_users_have_is_not_deleted(world):
    await put(world, document())
    for number in range(12):
        await world.accounts.create(f"u{number:02}", roles=("dev",), traits={}, by="root")
    with pytest.raises(ConflictError, match=r"cannot be deleted: u00, u01, .*, u09 and 2 more have it"):
        await world.roles.delete("dev", by="root", client_address=CLIENT)
    for number in range(1, 12):
        await world.accounts.update(f"u{number:02}", roles=(), traits=None, by="root")
    with pytest.raises(ConflictError, match=r"cannot be deleted: u00 have it"):
        await world.roles.delete("dev", by="root", client_address=CLIENT)
    await world.accounts.update("u00", roles=(), traits=None, by="root")
    await world.roles.delete("dev", by="root", client_address=CLIENT)
    with pytest.raises(NotFoundError, match="role dev does not exist"):
        await world.roles.delete("dev", by="root", client_address=CLIENT)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not JSON"),
        ("[" * 50_000, "not JSON"),
        ("null", "kind: expected role; write kind: role | version: expected v1"),
        (document("Dev"), "metadata.name: role name 'Dev' is not allowed"),
        (document(labels={"env": "^($"}), "spec.allow.node_labels.env: label 'env': .* is not a regular"),
        (" " * (MAX_DOCUMENT + 1), "larger than 64 KiB"),
        (document(options={"record_session": "off"}), "spec.options.record_session: .* does not enforce"),
    ],
)
async def test_what_is_no_role_is_not_stored(world, text, why):
    for attempt in (put(world, text), world.role_trial.try_out(text)):
        with pytest.raises(InvalidRequestError, match=why):
            await attempt
    assert len(await world.roles.list_roles()) == len(BUILT_IN_ROLES)


async def test_a_change_counts_at_the_next_decision(world):
    """Threat E6: identities take their roles from the database at every use, stored roles too."""
    await put(world, document(labels={"env": "prod"}))
    alice = await world.user(roles=("dev",), logins=())
    context = AccessContext(client_address=CLIENT, decision_id="d", login="ubuntu")
    prod = Resource(kind="node", name="n", labels={"env": "prod"})

    async def decide():
        return authorize(await world.session("alice"), "nodes.connect", prod, context)

    assert alice.definitions[0].name == "dev"
    assert (await decide()).role == "dev"
    await put(world, document(labels={"env": "dev"}))
    assert not (await decide()).allowed
    await put(world, document(labels={"env": "prod"}, options={"port_forwarding": False}))
    assert (await decide()).permissions == ("agent_forwarding", "file_copy")
    await put(world, document(labels={"env": "prod"}, deny={"logins": ["ubuntu"]}))
    assert (await decide()).reason == "role dev denies the login 'ubuntu'"
