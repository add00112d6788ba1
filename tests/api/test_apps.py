# SPDX-License-Identifier: Apache-2.0
"""`mezite.v1.AppService` over a connection."""

from mezite.api.pb.mezite.v1 import apps_pb2 as pb
from mezite.api.rpc import StatusCode
from tests.api.services import calling_as
from tests.services.world import START

GRAFANA = pb.RegisterAppRequest(
    name="grafana",
    uri="https://10.0.3.12:3000",
    labels={"env": "prod"},
    agent_hostnames=["web-1", "web-9"],
    options=pb.AppOptions(
        insecure_skip_verify=True,
        cors_origins=["https://wiki.apps.example.com"],
        request_headers={"x-a": ""},
        response_headers={"server": "x"},
        max_body=1024,
        rewrite_location=True,
        http1_only=True,
    ),
)


async def test_an_application_from_registering_to_removing(world):
    await world.join("web-1")
    async with calling_as(world) as call:
        created = await call("AppService/RegisterApp", GRAFANA)
        assert created.created
        assert [warning.partition(" ")[0] for warning in created.warnings] == ["the", "no"]
        app = created.app
        assert (app.public_addr, app.protocol, app.enabled) == ("grafana.apps.example.com", "http", True)
        assert (app.status, app.created_at_ms, app.options) == ("offline", START, GRAFANA.options)
        assert [(agent.hostname, agent.status) for agent in app.agents] == [
            ("web-1", "offline"),
            ("web-9", "unknown"),
        ]
        assert await call("AppService/GetApp", pb.GetAppRequest(name="grafana")) == app
        assert list((await call("AppService/ListApps")).apps) == [app]
        agent = {"name": "grafana", "agent_hostname": "web-9"}
        removed = await call("AppService/RemoveAppAgent", pb.RemoveAppAgentRequest(**agent))
        assert (len(removed.app.agents), removed.created) == (1, False)
        added = await call("AppService/AddAppAgent", pb.AddAppAgentRequest(**agent))
        assert (len(added.app.agents), len(added.warnings)) == (2, 1)
        off = pb.SetAppEnabledRequest(name="grafana", enabled=False)
        assert (await call("AppService/SetAppEnabled", off)).app.status == "disabled"
        await call("AppService/RemoveApp", pb.RemoveAppRequest(name="grafana"))
        gone = await call.refused("AppService/GetApp", pb.GetAppRequest(name="grafana"))
        assert gone.status is StatusCode.NOT_FOUND
    assert [event["user_name"] for event in await world.events("app.deleted")] == ["root"]


async def test_what_cannot_be_is_refused_with_the_reason(world):
    async with calling_as(world) as call:
        for changes, why in (
            ({"public_addr": "apps.example.com"}, "the apps domain itself"),
            ({"options": pb.AppOptions(cors_origins=["*"])}, "every page"),
        ):
            request = pb.RegisterAppRequest(name="wiki", uri="http://wiki", **changes)
            refused = await call.refused("AppService/RegisterApp", request)
            assert refused.status is StatusCode.INVALID_ARGUMENT
            assert why in str(refused)


async def test_users_see_what_they_may_use_and_no_address_behind_it(world):
    async with calling_as(world) as call:
        await call("AppService/RegisterApp", GRAFANA)
        await call("AppService/RegisterApp", pb.RegisterAppRequest(name="redis", uri="tcp://redis:6379"))
        seen = list((await call("AppService/ListUserApps")).apps)
    assert [(app.name, app.protocol, app.status) for app in seen] == [
        ("grafana", "http", "offline"),
        ("redis", "tcp", "no_agents"),
    ]
    assert [app.url for app in seen] == ["https://grafana.apps.example.com", ""]
    assert "10.0.3.12" not in str(seen)
