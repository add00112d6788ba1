# SPDX-License-Identifier: Apache-2.0
"""Each test has a database of its own, copied from one that is migrated and has its CAs."""

import pytest
import trio

from tests.services.world import copy_template, make_template, open_world


@pytest.fixture(scope="session")
def world_template(tmp_path_factory):
    path = tmp_path_factory.mktemp("services") / "template.db"
    trio.run(make_template, path)
    return path


@pytest.fixture
def database_path(world_template, tmp_path):
    return copy_template(world_template, tmp_path)


@pytest.fixture
async def world(database_path):
    async with open_world(database_path) as world:
        yield world
