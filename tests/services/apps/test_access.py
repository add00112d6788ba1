# SPDX-License-Identifier: Apache-2.0
"""From a user and a name to a TCP application's server, through a real mux session (threats A12, E8, E14, H4)."""

import json
import re

import attrs
import pytest
import trio

from mezite.core.apps.app import App
from mezite.core.rbac.locks import LockTarget
from mezite.net.mux_channel import ChannelResetError
from mezite.services.apps.access import MAX_NAME, AppAccess
from mezite.services.apps.dialing import AppDialer, NoAgentsConnectedError
from mezite.services.audit_log import AuditUnavailableError
from mezite.services.errors import AccessDeniedError, NotFoundError, UnauthenticatedError, UnavailableError
from mezite.storage import roles
from tests.services.tunnels import connected
from tests.services.tunnels import echo as echo_all
from tests.services.world import CLIENT, HOUR

REDIS = App(
    name="redis",
    uri="tcp://10.0.3.12:6379",
    protocol="tcp",
    labels={"env": "prod"},
    agent_hostnames=("web-1",),
)
WIKI = App(name="wiki", uri="http://10.0.3.12:80", public_addr="wiki.apps.example.com")


@attrs.define
class Apps:
    """A catalogue."""

    apps: dict = attrs.field(factory=lambda: {"redis": REDIS, "wiki": WIKI})

    async def by_name(self, name):
        try:
            return self.apps[name]
        except KeyError:
            raise NotFoundError(f"application {name} does not exist") from None


@pytest.fixture
def apps():
    return Apps()


@pytest.fixture
def access(world, apps):
    return AppAccess(
        apps=apps,
        dialer=AppDialer(database=world.database, registry=world.registry),
        connections=world.connections,
        audit=world.audit,
        sources=world.sources,
        locks=world.lock_feed,
        live=world.live,
    )


def connect(access, user, name="redis"):
    return access.connect(user, name, client_address=CLIENT)


async def refused(access, user, name="redis", error=Exception):
    with pytest.raises(error) as caught:
        async with connect(access, user, name):
            pytest.fail("it was let in")
    return caught.value


def role_document(**options):
    spec = {"options": options, "allow": {"app_labels": {"*": "*"}}}
    return json.dumps({"kind": "role", "version": "v1", "metadata": {"name": "limited"}, "spec": spec})


async def echo(pending):
    """Until the hub has nothing more to say, or cuts the connection."""
    try:
        await echo_all(pending)
    except ChannelResetError:
        return


async def test_bytes_and_what_is_recorded_about_them(world, access):
    user, agent = await world.user("alice"), await world.agent("web-1")
    async with connected(world, agent, echo):
        async with connect(access, user) as session:
            (start,) = await world.events("app.session.start")
            await session.stream.send_all(b"PING\r\n")
            assert await session.stream.receive_some() == b"PING\r\n"
            world.clock.now += 1500
            assert await world.events("app.session.end") == []
        (end,) = await world.events("app.session.end")
    for event in (start, end):
        assert (event["user_name"], event["resource_type"], event["resource_name"]) == (
            "alice",
            "app",
            "redis",
        )
        assert (event["resource_labels"], event["server_hostname"]) == ({"env": "prod"}, "web-1")
        assert (event["client_ip"], event["protocol"]) == ("192.0.2.7", "tcp")
        assert event["session_id"] == start["session_id"]
        assert event["decision_id"]
    assert (end["bytes_from_user"], end["bytes_to_user"], end["duration_ms"], end["reason"]) == (
        6,
        6,
        1500,
        "",
    )


async def test_checking_dials_nothing_and_records_nothing(world, access):
    user = await world.user("alice")
    await access.check(user, "redis", client_address=CLIENT)
    assert await world.events("app.session.start") == await world.events("access.denied") == []


async def test_not_there_and_not_allowed_look_the_same(world, access):
    """Names of applications are not to be guessed; the administrator learns all."""
    user = await world.user("bob", roles=())
    there, missing = await refused(access, user, error=NotFoundError), await refused(access, user, "nosuch")
    shown = [re.sub(r" \(event .*\)", "", str(each)) for each in (there, missing)]
    assert shown[0] == "application redis: not found, or you may not use it; `msh app ls` shows yours"
    assert shown[0].replace("redis", "") == shown[1].replace("nosuch", "")
    one, two = await world.events("access.denied")
    assert (one["id"], two["id"]) == (there.event_id, missing.event_id)
    assert (one["error_message"], two["error_message"]) == (
        "no role allows this application",
        "there is no such application",
    )
    assert (one["resource_labels"], one["user_name"], one["success"]) == ({"env": "prod"}, "bob", False)


async def test_a_denying_role_hides_it_too(world, access):
    spec = {"deny": {"app_labels": {"env": "prod"}}}
    document = {"kind": "role", "version": "v1", "metadata": {"name": "keep-out"}, "spec": spec}
    await world.roles.put(json.dumps(document), by="root", client_address=CLIENT)
    await refused(access, await world.user("bob", roles=("access", "keep-out")), error=NotFoundError)


async def test_a_long_name_is_cut_before_it_is_kept(world, access):
    error = await refused(access, await world.user("alice"), "x" * 10_000, NotFoundError)
    assert len(str(error)) < 300
    (event,) = await world.events("access.denied")
    assert len(event["resource_name"]) == MAX_NAME


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"require_trusted_device": True}, "your roles ask for a trusted device"),
        ({"require_session_mfa": "webauthn"}, "your roles ask for a second factor for each session"),
    ],
    ids=["device", "mfa"],
)
async def test_what_cannot_be_asked_over_tcp_is_refused_and_not_left_out(world, access, options, why):
    """Threat E8: never a silent downgrade."""
    await store_role(world, **options)
    user = await world.user("alice", roles=("limited",))
    async with connected(world, await world.agent("web-1"), echo):
        error = await refused(access, user, error=AccessDeniedError)
    assert str(error).startswith(f"application redis: {why}")
    assert error.event_id in str(error)
    (event,) = await world.events("access.denied")
    assert event["error_message"].startswith(why)


async def store_role(world, **options):
    """As it would be in the database of a newer hub, too."""
    await world.database.write(roles.put, name="limited", document=role_document(**options), now=0)


async def test_a_web_application_is_for_the_browser(world, access):
    error = await refused(access, await world.user("alice"), "wiki", UnavailableError)
    assert str(error) == (
        "application wiki: it is a web application: `msh app open wiki` opens it in a browser"
    )
    assert len(await world.events("access.denied")) == 1


async def test_a_disabled_application(world, access, apps):
    apps.apps["redis"] = attrs.evolve(REDIS, enabled=False)
    error = await refused(access, await world.user("alice"), error=UnavailableError)
    assert str(error) == "application redis: an administrator has disabled it"
    assert len(await world.events("access.denied")) == 1


async def test_an_expired_credential(world, access):
    user = await world.user("alice")
    world.clock.now += 12 * HOUR
    await refused(access, user, error=UnauthenticatedError)


async def test_nobody_can_reach_it(world, access):
    await world.agent("web-1")
    await refused(access, await world.user("alice"), error=NoAgentsConnectedError)
    assert await world.events("app.session.start") == []


async def test_a_lock_keeps_out_and_cuts_what_runs(world, access):
    """Threat E14: the stream says why, and so does the record."""
    root, user = await world.user("root", roles=("admin",)), await world.user("alice")
    async with connected(world, await world.agent("web-1"), echo):
        async with connect(access, user) as session:
            await world.locks.create(
                LockTarget.USER, "alice", message="lost laptop", by=root, client_address=CLIENT
            )
            with pytest.raises(ChannelResetError, match="lost laptop"):
                await session.stream.receive_some()
        (end,) = await world.events("app.session.end")
        assert "lost laptop" in end["reason"]
        error = await refused(access, user, error=AccessDeniedError)
    assert "user alice is locked" in str(error)


async def test_the_end_of_the_block_is_recorded_with_its_reason(world, access):
    async with connected(world, await world.agent("web-1"), echo):
        async with connect(access, await world.user("alice")) as session:
            session.reason = "no data either way for 60 s"
        (end,) = await world.events("app.session.end")
    assert end["reason"] == "no data either way for 60 s"


async def test_a_cancelled_connection_is_recorded_as_ended(world, access):
    """Threat H4."""
    async with connected(world, await world.agent("web-1"), echo):
        with trio.CancelScope() as scope:
            async with connect(access, await world.user("alice")):
                scope.cancel()
                await trio.sleep_forever()
        assert len(await world.events("app.session.end")) == 1


async def test_what_cannot_be_recorded_does_not_happen(world, access):
    ended = trio.Event()

    async def serve(pending):
        channel = await pending.accept()
        with pytest.raises(trio.BrokenResourceError):
            await channel.receive_some()
        ended.set()

    class FullDisk:
        async def emit(self, *_event, **_fields):
            raise AuditUnavailableError("the disk is full")

    async with connected(world, await world.agent("web-1"), serve):
        access.audit = FullDisk()
        await refused(access, await world.user("alice"), error=AuditUnavailableError)
        with trio.fail_after(5):
            await ended.wait()


async def test_options_of_the_roles(world, access):
    await store_role(world, idle_timeout="10m", max_connections=1)
    user = await world.user("alice", roles=("limited",))
    async with connected(world, await world.agent("web-1"), echo):
        async with connect(access, user) as session:
            assert session.idle_timeout == 600
            error = await refused(access, user, error=AccessDeniedError)
            assert str(error).startswith("you may have 1 connections at a time, and have them: end one first")
        async with connect(access, user):
            pass
    await refused(access, user, error=NoAgentsConnectedError)
    async with connected(world, await world.agent("web-2"), echo):
        # The place of the connection that could not be made was given back.
        access.apps.apps["redis"] = attrs.evolve(REDIS, agent_hostnames=("web-2",))
        async with connect(access, user):
            pass
