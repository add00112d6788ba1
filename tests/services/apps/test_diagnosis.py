# SPDX-License-Identifier: Apache-2.0
"""What the doctors say of applications."""

from __future__ import annotations

import attrs
import pytest

from mezite.core.apps.app import App, AppOptions
from mezite.core.apps.health import health_key
from mezite.core.diagnosis import Outcome
from mezite.services.apps.diagnosis import MAX_SHOWN, AppsDiagnosis, address_problem
from mezite.services.apps.registration import AppsDomain
from mezite.storage import app_health
from mezite.storage.app_health import AppHealthRow
from tests.services.tunnels import Closings
from tests.services.world import START

DOMAIN = AppsDomain(name="apps.example.com", certificate_names=lambda: ["*.apps.example.com"])
WIKI = App(
    name="wiki",
    uri="http://10.0.3.12:3000",
    public_addr="wiki.apps.example.com",
    agent_hostnames=("here", "gone"),
    options=AppOptions(health_path="/healthz"),
)
REDIS = App(name="redis", uri="tcp://redis:6379", protocol="tcp", agent_hostnames=("here",))


async def problems(world, *apps, domain=DOMAIN, sees_agents=True):
    diagnosis = AppsDiagnosis(status=world.app_status, domain=domain, sees_agents=sees_agents)
    found = await diagnosis.findings(apps)
    return [(each.step, each.outcome, each.detail, each.remedy) for each in found]


async def test_all_is_well(world):
    here = await world.agent("here")
    with world.registry.claim(Closings().tunnel(here.agent_id)):
        assert await problems(world, REDIS) == [
            ("applications", Outcome.OK, "1 registered, health of 0 checked", "")
        ]
    assert await problems(world) == [("applications", Outcome.SKIPPED, "none is registered", "")]


async def test_agents_and_health(world):
    here, _gone = await world.agent("here"), await world.agent("gone")
    row = AppHealthRow(
        app="wiki", agent="here", checked=health_key(WIKI), state="unhealthy", since=START, reason="HTTP 503"
    )
    await world.database.write(app_health.record, row=row)
    nobodys = attrs.evolve(REDIS, name="nobodys", agent_hostnames=())
    strangers = attrs.evolve(REDIS, name="strangers", agent_hostnames=("her",))
    with world.registry.claim(Closings().tunnel(here.agent_id)):
        found = await problems(world, WIKI, nobodys, strangers, REDIS)
    assert [(step, detail) for step, _, detail, _ in found] == [
        ("application wiki", "an agent is offline (gone)"),
        ("application wiki", "unhealthy through agent here: HTTP 503"),
        ("application nobodys", "no agent serves it"),
        ("application strangers", "no node is called her"),
    ]
    assert all(outcome is Outcome.FAILED and remedy for _, outcome, _, remedy in found)
    assert [detail for _, _, detail, _ in await problems(world, REDIS)] == [
        "none of its agents is connected (here)"
    ]
    (found,) = await problems(world, attrs.evolve(REDIS, enabled=False), REDIS, sees_agents=False)
    assert found[2] == (
        "2 registered, health of 0 checked, 1 disabled, agents not looked at: the hub does not run"
    )


async def test_applications_that_are_not_active(world):
    ((step, outcome, detail, remedy),) = await problems(world, WIKI, domain=AppsDomain())
    assert (step, outcome, remedy) == (
        "applications",
        Outcome.FAILED,
        "set proxy.apps_domain, or remove them",
    )
    assert detail == "application access is not active: this hub has no `proxy.apps_domain`"


async def test_not_all_of_very_many(world):
    many = [attrs.evolve(REDIS, name=f"r-{number}", agent_hostnames=()) for number in range(MAX_SHOWN + 3)]
    found = await problems(world, *many)
    assert len(found) == MAX_SHOWN + 1
    assert found[-1][2:] == ("3 more problems", "look at `mezctl apps ls`")


@pytest.mark.parametrize(
    ("domain", "why"),
    [
        (DOMAIN, None),
        (AppsDomain(), None),
        (AppsDomain(name="apps.example.com"), None),
        (AppsDomain(name="apps.example.org"), "is not below proxy.apps_domain apps.example.org"),
        (
            AppsDomain(name="apps.example.com", certificate_names=lambda: ["hub.example.com"]),
            "no certificate of this hub is for wiki.apps.example.com",
        ),
    ],
)
def test_addresses(domain, why):
    problem = address_problem(WIKI, domain)
    assert (problem is None) == (why is None)
    if problem is not None:
        assert why in problem.why
        assert "apps.example" in problem.remedy
    assert address_problem(REDIS, domain) is None
