# SPDX-License-Identifier: Apache-2.0
"""Whether applications can be reached, and where browsers find them."""

import attrs
import pytest

from mezite.core.apps.app import App, AppOptions
from mezite.core.apps.health import AppHealth, health_key
from mezite.services.apps.launcher import AppLauncher, app_url
from mezite.services.apps.registration import AppRegistration
from mezite.services.apps.status import AgentState, AppState, state_of
from mezite.services.nodes.tunnel_leases import LEASE_MS
from mezite.storage import agents, app_health
from mezite.storage.agents import TunnelLease
from mezite.storage.app_health import AppHealthRow
from tests.services.tunnels import Closings
from tests.services.world import CLIENT, START


def app(*host_names, **fields):
    return App(name="redis", uri="tcp://redis:6379", protocol="tcp", agent_hostnames=host_names, **fields)


async def test_agents(world):
    """Here, at another hub, gone, locked and unknown."""
    here, away, gone, locked = [await world.agent(name) for name in ("here", "away", "gone", "locked")]
    for agent in (away, gone, locked):
        epoch = await world.database.write(
            agents.next_epoch, agent_id=agent.agent_id, hub_id="hub-2", now=START
        )
        lease_until = START + (LEASE_MS if agent is not gone else 0)
        lease = TunnelLease(agent_id=agent.agent_id, epoch=epoch, lease_until=lease_until)
        await world.database.write(agents.mark_connected, lease=lease, now=START)
    await world.database.write(agents.lock, agent_id=locked.agent_id, reason="lost", now=START)
    with world.registry.claim(Closings().tunnel(here.agent_id)):
        states = await world.app_status.agents_of(
            [app("here", "away"), app("gone", "locked", "nobody", "here")]
        )
    assert states == {
        "here": AgentState.ONLINE,
        "away": AgentState.ONLINE,
        "gone": AgentState.OFFLINE,
        "locked": AgentState.OFFLINE,
        "nobody": AgentState.UNKNOWN,
    }
    assert await world.app_status.agents_of([app()]) == {}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (app(), AppState.NO_AGENTS),
        (app("a", "b"), AppState.ONLINE),
        (app("a"), AppState.OFFLINE),
        (app("b", enabled=False), AppState.DISABLED),
        (app("c"), AppState.OFFLINE),
    ],
)
def test_applications(given, expected):
    assert state_of(given, {"a": AgentState.OFFLINE, "b": AgentState.ONLINE}) is expected


async def test_health_as_all_hubs_have_found_it(world):
    """Only of agents that are connected, of applications that are enabled, and of what is checked now."""
    here, gone = [await world.agent(name) for name in ("here", "gone")]
    checked = App(
        name="redis",
        uri="tcp://redis:6379",
        protocol="tcp",
        agent_hostnames=("here", "gone"),
        options=AppOptions(health_interval=5),
    )
    for agent in (here, gone):
        row = AppHealthRow(
            app="redis",
            agent=agent.node_name,
            checked=health_key(checked),
            state="unhealthy",
            since=START,
            reason="no",
        )
        await world.database.write(app_health.record, row=row)

    async def seen(app):
        (view,) = await world.app_status.views([app])
        return [view.health[name].state.value for name in view.health], view.overall_health

    with world.registry.claim(Closings().tunnel(here.agent_id)):
        assert await seen(checked) == (["unhealthy", "unknown"], AppHealth.UNHEALTHY)
        other = attrs.evolve(checked, uri="tcp://redis:6380")
        disabled = attrs.evolve(checked, enabled=False)
        for app in (other, disabled):
            assert await seen(app) == (["unknown", "unknown"], AppHealth.UNKNOWN)
        assert await seen(attrs.evolve(checked, options=AppOptions())) == ([], None)
    assert await seen(checked) == (["unknown", "unknown"], AppHealth.UNKNOWN)
    assert await world.app_status.views([]) == []


def test_where_browsers_find_it():
    grafana = App(name="grafana", uri="http://g", public_addr="grafana.apps.example.com")
    assert app_url(grafana, "https://hub.example.com") == "https://grafana.apps.example.com"
    assert app_url(grafana, "https://localhost:3080") == "https://grafana.apps.example.com:3080"
    assert app_url(grafana, "https://[::1]:3080") == "https://grafana.apps.example.com:3080"
    assert app_url(app(), "https://hub.example.com") == ""


async def test_tiles(world):
    registration = AppRegistration(name="grafana", uri="http://g", labels={"env": "prod"})
    await world.apps.register(registration, by="root", client_address=CLIENT)
    launcher = AppLauncher(catalog=world.apps, status=world.app_status, web_url=lambda: "https://hub:3080")
    (tile,) = await launcher.tiles(await world.user("alice"), client_address=CLIENT)
    assert (tile.url, tile.state) == ("https://grafana.apps.example.com:3080", AppState.NO_AGENTS)
    assert await launcher.tiles(await world.user("bob", roles=("auditor",)), client_address=CLIENT) == []
