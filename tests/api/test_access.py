# SPDX-License-Identifier: Apache-2.0
"""Who calls, and whether they may."""

import pytest
from google.protobuf.wrappers_pb2 import StringValue

from mezite.api.access import register_methods
from mezite.api.rpc import RpcMethod, StatusCode
from mezite.api.service_methods import agent_of, unary, user_of
from mezite.services.access.verb_registry import DoorKind, VerbRegistry
from mezite.services.audit_log import AuditUnavailableError
from mezite.services.errors import NotFoundError
from mezite.storage import agents, users
from tests.api.services import all_methods, calling, calling_as
from tests.services.test_audit_log import break_database
from tests.services.world import START


async def echo(request, context):
    return StringValue(value=getattr(context.identity, "name", "") or context.identity.agent_id)


def method(handler=echo, verb="self.name", **more):
    fields = {"request_type": StringValue, "response_type": StringValue, "resource": "account"} | more
    return RpcMethod(path="/mezite.v1.Test/Who", handler=handler, verb=verb, **fields)


async def who(world, handler=echo, verb="self.name", **credential):
    async with calling(world, extra=[method(handler, verb)], **credential) as call:
        return (await call("Test/Who")).value


async def who_refused(world, verb="self.name", **credential):
    async with calling(world, extra=[method(verb=verb)], **credential) as call:
        return await call.refused("Test/Who")


async def test_by_session(world):
    await world.user("alice")
    assert await who(world, token=await world.token("alice")) == "alice"


async def test_by_certificate(world):
    issued = await world.issue(await world.user("alice"))
    assert await who(world, certificate_pem=issued.certificates.tls_certificate_pem) == "alice"


async def test_a_session_counts_before_a_certificate(world):
    """What is sent with the call is meant; and a bad one is not made good by a certificate."""
    await world.user("alice")
    issued = await world.issue(await world.user("bob"))
    pem = issued.certificates.tls_certificate_pem
    assert await who(world, token=await world.token("alice"), certificate_pem=pem) == "alice"
    error = await who_refused(world, token="0" * 64, certificate_pem=pem)
    assert error.status is StatusCode.UNAUTHENTICATED


@pytest.mark.parametrize("token", [None, "0" * 64, "x"])
async def test_nobody(world, token):
    """Who shows something that is not good is recorded, who shows nothing is not."""
    error = await who_refused(world, token=token)
    assert error.status is StatusCode.UNAUTHENTICATED
    events = await world.events("authz.denied")
    assert [event["verb"] for event in events] == ([] if token is None else ["authenticate"])


async def test_a_disabled_user_and_a_locked_agent(world):
    issued = await world.issue(await world.user("alice"))
    await world.database.write(users.set_disabled, name="alice", disabled=True, now=START)
    error = await who_refused(world, certificate_pem=issued.certificates.tls_certificate_pem)
    assert error.status is StatusCode.UNAUTHENTICATED
    enrolled = await world.join()
    await world.database.write(agents.lock, agent_id=enrolled.agent.agent_id, reason="lost", now=START)
    error = await who_refused(world, certificate_pem=enrolled.certificates.tls_certificate_pem)
    assert error.status is StatusCode.PERMISSION_DENIED
    assert "lost" in error.message


async def test_a_denial_names_the_event_about_it(world):
    await world.user("alice")
    error = await who_refused(world, "users.list", token=await world.token("alice"))
    assert error.status is StatusCode.PERMISSION_DENIED
    (event,) = await world.events("authz.denied")
    assert f"(event {event['id']})" in error.message
    assert "users.list is not allowed: none of your roles allows users.list" in error.message
    assert (event["user_name"], event["user_roles"]) == ("alice", ["access"])
    assert (event["verb"], event["resource_type"], event["success"]) == ("users.list", "account", False)
    assert event["client_ip"] == "192.0.2.7"


async def test_a_denied_agent_is_named_by_its_id(world):
    enrolled = await world.join()
    error = await who_refused(world, certificate_pem=enrolled.certificates.tls_certificate_pem)
    assert error.status is StatusCode.PERMISSION_DENIED
    (event,) = await world.events("authz.denied")
    assert (event["user_name"], event["user_roles"]) == (enrolled.agent.agent_id, [])


async def test_when_a_denial_cannot_be_recorded(world):
    """Threat H7: it stays a refusal."""
    await world.user("alice")
    token = await world.token("alice")
    await break_database(world, "ALTER TABLE audit_events RENAME TO hidden")
    error = await who_refused(world, "users.list", token=token)
    assert error.status is StatusCode.UNAVAILABLE


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (NotFoundError("no such thing"), StatusCode.NOT_FOUND),
        (AuditUnavailableError("x"), StatusCode.UNAVAILABLE),
    ],
)
async def test_what_the_services_raise_is_a_status(world, raised, status):
    async def fail(_request, _context):
        raise raised

    wrapped = unary("/mezite.v1.Test/Fail", StringValue, StringValue)(fail, "self.fail", "account")
    await world.user("alice")
    async with calling(world, token=await world.token("alice"), extra=[wrapped]) as call:
        assert (await call.refused("Test/Fail")).status is status


def test_all_methods_become_doors():
    """Threat E13; and registering them twice is an error."""
    registry = VerbRegistry()
    methods = [method(), method(verb="x.y", public=False)]
    register_methods(registry, methods[:1])
    with pytest.raises(ValueError, match="twice"):
        register_methods(registry, methods[1:])
    door = registry.door(DoorKind.RPC, "/mezite.v1.Test/Who")
    assert (door.verb, door.resource, door.public) == ("self.name", "account", False)


async def test_the_services_methods_have_verbs_of_their_own_kind(world):
    for each in all_methods(world):
        assert each.verb.count(".") >= 1, each.path
        assert each.public == (each.verb in PUBLIC), each.path


PUBLIC = {"cluster.ping", "cluster.ca", "account.login", "agent.join"}


async def test_users_calls_are_not_agents_calls(world):
    """Beside the verb, the handler itself asks who it is."""

    async def as_user(_request, context):
        return StringValue(value=user_of(context).name)

    async def as_agent(_request, context):
        return StringValue(value=agent_of(context).agent_id)

    enrolled = await world.join()
    pem = enrolled.certificates.tls_certificate_pem
    assert await who(world, as_agent, "agent.heartbeat", certificate_pem=pem) == enrolled.agent.agent_id
    async with calling(world, certificate_pem=pem, extra=[method(as_user, "agent.heartbeat")]) as call:
        error = await call.refused("Test/Who")
        assert (error.status, error.message) == (
            StatusCode.PERMISSION_DENIED,
            "this call is for users, not for agents",
        )
    async with calling_as(world) as call:
        assert (await call("NodeService/ListNodes")).nodes[0].name == "web-1"
    async with calling(world, token=await world.token("root"), extra=[method(as_agent)]) as call:
        assert "for agents, not for users" in (await call.refused("Test/Who")).message
