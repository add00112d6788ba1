# SPDX-License-Identifier: Apache-2.0
"""A login that waits at its agent for a second factor: threats E7, E8."""

import contextlib

import attrs
import pytest
import trio

from mezite.core.rbac.role_options import SessionMfa
from mezite.net.mux_channel import ChannelResetError
from mezite.services.errors import (
    AccessDeniedError,
    InvalidRequestError,
    NotFoundError,
    UnauthenticatedError,
)
from mezite.services.factors.fresh_proof import Proof
from mezite.services.login.codes import ShownCode
from mezite.services.nodes.live_connections import FORWARDING, SessionReport
from mezite.services.nodes.login_proofs import LoginProofs, WaitingLogin
from mezite.services.proofs.proofs_ahead import ProofsAhead
from mezite.storage.factors import FactorKind
from tests.services.access.test_roles import document, put
from tests.services.login.second_factors import add_totp
from tests.services.tunnels import connected, echo
from tests.services.world import CLIENT, fake_sources, wired

HASH = "ab" * 32


@attrs.define(kw_only=True)
class Scene:
    """A user whose role asks for a code, a node, and what the agent is told of connections."""

    world: object
    session: object
    user: object
    """By her certificate."""
    agent: object
    phone: object
    headers: list = attrs.field(factory=list)

    @property
    def logins(self):
        return LoginProofs(
            connections=self.world.connections, proofs=self.world.factors.sessions, live=self.world.live
        )

    @property
    def ahead(self):
        world = self.world
        return ProofsAhead(
            database=world.database,
            proofs=world.factors.sessions,
            audit=world.audit,
            sources=world.sources,
            locks=world.lock_feed,
        )

    def tunnel(self):
        async def serve(pending):
            self.headers.append(pending.header)
            with contextlib.suppress(ChannelResetError):  # the connection was cut
                await echo(pending)

        return connected(self.world, self.agent, serve)

    def connect(self, login="ubuntu", user=None):
        return self.world.access.connect(user or self.user, "web-1", login=login, client_address=CLIENT)

    def waiting(self, **changes):
        said = WaitingLogin(
            connection_id=self.headers[-1].trace_id,
            login="ubuntu",
            certificate_serial=self.user.serial,
            ssh_session_id=HASH,
        )
        return attrs.evolve(said, **changes)

    async def report(self, kind="shell", login="ubuntu", serial=None):
        report = SessionReport(
            connection_id=self.headers[-1].trace_id,
            session_id=f"s-{len(await self.world.events())}",
            login=login,
            kind=kind,
            command="",
            pty=False,
            certificate_serial=self.user.serial if serial is None else serial,
        )
        await self.world.connections.session_started(self.agent, report)

    async def show(self, *targets, window_seconds=0):
        """A code, ahead of the connection."""
        pending, _needs = await self.ahead.begin(
            self.user, targets, window_seconds=window_seconds, client_address=CLIENT
        )
        await self.world.factors.sessions.show_code(
            "mia", pending.id.reveal(), self.phone.fresh_code(), client_address=CLIENT
        )
        return pending.id.reveal()


@pytest.fixture
async def scene(world):
    await put(world, document("careful", logins=["ubuntu", "root"], options={"require_session_mfa": "totp"}))
    await put(world, document("easy", logins=["guest"]))
    session = await world.user("mia", roles=("careful", "easy"), logins=())
    user = await world.by_certificate(await world.issue(session))
    phone = await add_totp(world, session)
    return Scene(world=world, session=session, user=user, agent=await world.agent("web-1"), phone=phone)


async def test_the_agent_is_told_what_to_ask_for(scene):
    async with scene.tunnel():
        for login, told in (("ubuntu", "*"), ("guest", None), (None, "root,ubuntu")):
            async with scene.connect(login):
                assert scene.headers[-1].attributes.get("unproven") == told


@pytest.mark.parametrize("kind", ["shell", "exec", "subsystem", *sorted(FORWARDING)])
async def test_an_agent_that_does_not_ask_gets_no_session_e8(scene, kind):
    """It may be older than the option, or lie: the hub decides when the session is reported."""
    async with scene.tunnel(), scene.connect():
        with pytest.raises(AccessDeniedError, match="second factor"):
            await scene.report(kind)
    (event,) = await scene.world.events("access.denied")
    assert "require_session_mfa: totp" in event["error_message"]
    assert not await scene.world.events("session.start")
    assert not await scene.world.events("port.forward")


async def test_a_code_lets_this_login_in(scene):
    async with scene.tunnel(), scene.connect():
        pending, needs = await scene.logins.begin(scene.agent, scene.waiting())
        assert (needs, pending.factors) == (SessionMfa.TOTP, ("totp",))
        proof_id = pending.id.reveal()
        with pytest.raises(UnauthenticatedError):
            await scene.logins.answer(scene.agent, scene.waiting(), proof_id, "000000")
        code = scene.phone.fresh_code()
        assert await scene.logins.answer(scene.agent, scene.waiting(), proof_id, code)
        await scene.report()
        await scene.report("exec")  # the same connection: what a ControlMaster shares
        assert await scene.logins.begin(scene.agent, scene.waiting()) is None
        with pytest.raises(AccessDeniedError):
            await scene.report("exec", login="root")


async def test_another_certificate_than_the_one_that_was_shown(scene):
    async with scene.tunnel(), scene.connect():
        pending, _needs = await scene.logins.begin(scene.agent, scene.waiting())
        code = scene.phone.fresh_code()
        assert await scene.logins.answer(scene.agent, scene.waiting(), pending.id.reveal(), code)
        with pytest.raises(AccessDeniedError):
            await scene.report(serial="12345")


@pytest.mark.parametrize("changed", [{"ssh_session_id": "cd" * 32}, {"connection_id": "other"}])
async def test_what_was_shown_elsewhere_is_good_for_nothing_here_e7(scene, changed):
    """Another SSH session in the same connection, another connection of the same user to the same node."""
    async with scene.tunnel(), scene.connect():
        first = scene.waiting()
        pending, _needs = await scene.logins.begin(scene.agent, first)
        await scene.world.factors.sessions.show_code(
            "mia", pending.id.reveal(), scene.phone.fresh_code(), client_address=CLIENT
        )
        async with scene.connect():
            second = scene.waiting()
            elsewhere = second if "connection_id" in changed else attrs.evolve(first, **changed)
            assert await scene.logins.wait(scene.agent, elsewhere, pending.id.reveal(), 1) == "expired"
            with pytest.raises(AccessDeniedError):
                await scene.report()
        assert await scene.logins.wait(scene.agent, first, pending.id.reveal(), 1) == "proven"
        assert await scene.logins.wait(scene.agent, first, pending.id.reveal(), 1) == "expired"


async def test_a_code_that_is_typed_for_one_login_finishes_no_other_e7(scene):
    """A node that is broken into must not open others with what its users type."""
    other, _needs = await scene.ahead.begin(scene.user, ["web-1"], window_seconds=600, client_address=CLIENT)
    async with scene.tunnel(), scene.connect():
        with pytest.raises(NotFoundError):
            await scene.logins.answer(
                scene.agent, scene.waiting(), other.id.reveal(), scene.phone.fresh_code()
            )
    assert await scene.world.factors.sessions.take(other.id.reveal(), "") is None


@pytest.mark.parametrize("change", ["remove", "reset", "password"])
async def test_what_was_shown_ahead_goes_with_the_factor(scene, change):
    await scene.show("web-1", window_seconds=600)
    world = scene.world
    if change == "remove":
        proof = Proof(code=ShownCode(totp=scene.phone.fresh_code()))
        await world.factors.own.remove(scene.session, scene.phone.factor_id, proof, client_address=CLIENT)
    elif change == "reset":
        await world.factors.administration.reset("mia", FactorKind.TOTP, by="root", client_address=CLIENT)
    else:
        await world.login.set_password("mia", "another horse battery")
    async with scene.tunnel(), scene.connect():
        assert scene.headers[-1].attributes["unproven"] == "*"


async def test_another_agent_has_no_say(scene):
    other = await scene.world.agent("web-2")
    async with scene.tunnel(), scene.connect():
        for attempt in (
            scene.logins.begin(other, scene.waiting()),
            scene.logins.answer(other, scene.waiting(), "x", "1"),
            scene.logins.wait(other, scene.waiting(), "x", 1),
        ):
            with pytest.raises(NotFoundError):
                await attempt


@pytest.mark.parametrize(
    "changed",
    [
        {"ssh_session_id": ""},
        {"ssh_session_id": "AB" * 32},
        {"ssh_session_id": "ab" * 65},
        {"login": ""},
        {"login": "x" * 65},
        {"certificate_serial": ""},
        {"certificate_serial": "1" * 21},
    ],
)
async def test_what_an_agent_cannot_have_seen(scene, changed):
    async with scene.tunnel(), scene.connect():
        with pytest.raises(InvalidRequestError):
            await scene.logins.begin(scene.agent, scene.waiting(**changed))


async def test_logins_that_may_not_be_asked_for(scene):
    async with scene.tunnel(), scene.connect(None):
        assert await scene.logins.begin(scene.agent, scene.waiting(login="guest")) is None
        with pytest.raises(AccessDeniedError):
            await scene.logins.begin(scene.agent, scene.waiting(login="postgres"))


async def test_the_browser_says_no_or_nothing(scene, autojump_clock):
    async with scene.tunnel(), scene.connect():
        pending, _needs = await scene.logins.begin(scene.agent, scene.waiting())
        proof_id = pending.id.reveal()
        assert await scene.logins.wait(scene.agent, scene.waiting(), proof_id, 0) == "pending"
        assert await scene.logins.wait(scene.agent, scene.waiting(), proof_id, 1e9) == "pending"
        await scene.world.factors.sessions.refuse(scene.session, proof_id, client_address=CLIENT)
        assert await scene.logins.wait(scene.agent, scene.waiting(), proof_id, 5) == "refused"
        assert await scene.logins.wait(scene.agent, scene.waiting(), "f" * 32, 5) == "expired"


async def test_shown_ahead_for_one_connection(scene):
    proof_id = await scene.show("ubuntu@web-1")
    assert await scene.ahead.wait(scene.user, proof_id, 1) == "proven"
    async with scene.tunnel():
        async with scene.connect():
            assert "unproven" not in scene.headers[-1].attributes
            await scene.report()
            with pytest.raises(AccessDeniedError):
                await scene.report("exec", login="root")
        async with scene.connect():
            assert scene.headers[-1].attributes["unproven"] == "*"
            with pytest.raises(AccessDeniedError):
                await scene.report()


async def test_shown_ahead_and_not_used_by_another_certificate(scene):
    await scene.show("ubuntu@web-1")
    code = scene.phone.fresh_code()
    newer = await scene.world.by_certificate(
        await scene.world.issue(await scene.world.session_with("mia", totp=code))
    )
    async with scene.tunnel(), scene.connect(user=newer):
        assert scene.headers[-1].attributes["unproven"] == "*"


async def test_a_window_for_declared_nodes(scene):
    """What lets Ansible work: any number of connections, also where the login is not known yet."""
    await scene.show("web-1", window_seconds=600)
    async with scene.tunnel():
        for login in ("ubuntu", None, "root"):
            async with scene.connect(login):
                assert "unproven" not in scene.headers[-1].attributes
                await scene.report(login="ubuntu" if login is None else login)


async def test_nothing_to_show_ahead(scene):
    begin = scene.ahead.begin
    assert await begin(scene.user, ["guest@web-1"], window_seconds=0, client_address=CLIENT) is None
    for targets in (["web-9"], ["postgres@web-1"], ["ubuntu@web-1", "../x"]):
        with pytest.raises(NotFoundError, match="msh ls") as refused:
            await begin(scene.user, targets, window_seconds=0, client_address=CLIENT)
        assert refused.value.event_id == (await scene.world.events("access.denied"))[-1]["id"]
    for targets in ([], [f"n-{number}" for number in range(1001)]):
        with pytest.raises(InvalidRequestError, match="between 1 and 1000"):
            await begin(scene.user, targets, window_seconds=0, client_address=CLIENT)
    with pytest.raises(InvalidRequestError, match="certificate of `msh login`"):
        await begin(scene.session, ["web-1"], window_seconds=0, client_address=CLIENT)


async def test_waiting_ahead(scene, autojump_clock):
    pending, _needs = await scene.ahead.begin(scene.user, ["web-1"], window_seconds=0, client_address=CLIENT)
    proof_id = pending.id.reveal()
    assert await scene.ahead.wait(scene.user, proof_id, 1) == "pending"
    bob = await scene.world.user("bob")
    await scene.world.factors.sessions.refuse(scene.session, proof_id, client_address=CLIENT)
    assert await scene.ahead.wait(bob, proof_id, 1) == "expired"
    assert await scene.ahead.wait(scene.user, proof_id, 1) == "refused"


async def test_what_was_shown_is_used_once_by_all_hubs_e10(scene):
    """A second hub on the same database, with a connection of its own: one of the two gets it."""
    await scene.show("ubuntu@web-1")
    world = scene.world
    other = await wired(
        world.database, world.path, world.clock, fake_sources(world.clock, start=900), "hub-2"
    )
    taken = []

    async def take(proofs) -> None:
        taken.append(await proofs.take_for_node(scene.user, "web-1", ("ubuntu",), SessionMfa.TOTP))

    async with trio.open_nursery() as nursery:
        for hub in (world, other):
            nursery.start_soon(take, hub.factors.sessions)
    assert sum(proof is not None for proof in taken) == 1


async def test_approved_at_another_hub_than_the_one_that_waits(scene):
    world = scene.world
    other = await wired(
        world.database, world.path, world.clock, fake_sources(world.clock, start=900), "hub-2"
    )
    async with trio.open_nursery() as nursery, scene.tunnel(), scene.connect():
        await nursery.start(other.audit.run)
        pending, _needs = await scene.logins.begin(scene.agent, scene.waiting())
        await other.factors.sessions.show_code(
            "mia", pending.id.reveal(), scene.phone.fresh_code(), client_address=CLIENT
        )
        assert await scene.logins.wait(scene.agent, scene.waiting(), pending.id.reveal(), 5) == "proven"
        await scene.report()
        nursery.cancel_scope.cancel()
