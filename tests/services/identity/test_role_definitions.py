# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from mezite.core.rbac.evaluator import AppRequest, NodeRequest, evaluate
from mezite.core.rbac.role_document import role_document
from mezite.core.rbac.roles import BUILT_IN_ROLES, Role
from mezite.services.identity.role_definitions import definitions, stored_role
from mezite.storage import roles
from tests.services.world import START

DEV = Role(name="dev", description="Developers")


def text(role):
    return json.dumps(role_document(role))


async def test_names_become_roles_in_their_order(world):
    await world.database.write(roles.put, name="dev", document=text(DEV), now=START)
    found = await world.database.read(definitions, ("dev", "boss", "access"))
    assert found == (DEV, BUILT_IN_ROLES["access"])


async def test_a_stored_role_does_not_replace_a_built_in_one(world):
    """Only somebody with the database in hand could store one."""
    await world.database.write(roles.put, name="access", document=text(Role(name="access")), now=START)
    assert await world.database.read(definitions, ("access",)) == (BUILT_IN_ROLES["access"],)


@pytest.mark.parametrize(
    "document", ["", "[]", "{}", '{"kind": "role", "version": "v9"}', text(Role(name="x"))]
)
def test_what_cannot_be_read_denies_everything(document):
    """To leave the role out would leave out what it denies."""
    role, access = stored_role("dev", document), BUILT_IN_ROLES["access"]
    request = NodeRequest(labels={}, login="ubuntu", traits={"logins": ("ubuntu",)})
    assert evaluate([access], request).allowed
    assert not evaluate([access, role], request).allowed
    assert not evaluate([access, role], AppRequest(labels={})).allowed
