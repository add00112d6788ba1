# SPDX-License-Identifier: Apache-2.0
"""The way of a browser to an application and back (threats D18, D19, E10)."""

from contextlib import suppress

import attrs
import pytest
import trio

from mezite.core.apps.app import App
from mezite.core.rbac.locks import LockTarget
from mezite.services.apps.admission import proof_of_session
from mezite.services.apps.logins import CODE_MS, LOGIN_MS
from mezite.services.errors import (
    AccessDeniedError,
    InvalidRequestError,
    NotFoundError,
    TooManyRequestsError,
    UnauthenticatedError,
    UnavailableError,
)
from mezite.services.login.codes import FactorShown
from tests.services.apps.world import GRAFANA, HOST, OTHER_HOST, TARGET, Browser, open_app_world
from tests.services.login.second_factors import add_totp
from tests.services.world import CLIENT, HOUR


@pytest.fixture
async def apps(world):
    await world.user()
    return await open_app_world(world)


async def test_there_and_back(apps):
    alice, browser = await apps.web_session(), Browser(apps)
    key = await browser.begin()
    assert (await apps.logins.wanted(key)).name == "grafana"
    way_back = await apps.logins.enter(alice, key, client_address=CLIENT)
    assert way_back.url == f"https://{HOST}/.mezite/enter"
    assert way_back.app == GRAFANA
    started, target = await browser.redeem(way_back.code.reveal())
    assert target == TARGET
    found = await apps.world.authenticator.by_app_session(started.token.reveal(), HOST)
    identity, row = found
    assert row == started.row
    assert (identity.name, identity.app_session, identity.session_hash) == (
        "alice",
        row.id,
        alice.session_hash,
    )
    assert row.id not in started.token.reveal() + row.token_hash
    (event,) = await apps.world.events("app.login")
    assert (event["user_name"], event["resource_name"], event["session_id"]) == ("alice", "grafana", row.id)


async def refused(apps, browser, code, why):
    """The refusal is one text, and the audit log says why."""
    with pytest.raises(UnauthenticatedError, match="open the application again") as told:
        await browser.redeem(code)
    (event,) = [
        one for one in await apps.world.events("app.login.failed") if one["id"] == told.value.event_id
    ]
    assert event["error_message"] == why
    assert not event["success"]


async def test_a_code_is_good_once_d18(apps):
    alice, browser = await apps.web_session(), Browser(apps)
    code = (await browser.hand_over(alice)).code.reveal()
    await browser.redeem(code)
    await refused(apps, browser, code, "the code is used")


async def test_of_many_at_once_one_wins_e10(apps):
    alice, browser = await apps.web_session(), Browser(apps)
    code, won = (await browser.hand_over(alice)).code.reveal(), []

    async def try_it():
        with suppress(UnauthenticatedError):
            won.append(await browser.redeem(code))

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(try_it)
    assert len(won) == 1
    assert len(await apps.sessions.listed()) == 1


async def test_a_code_at_another_application_d18(apps):
    alice, browser = await apps.web_session(), Browser(apps)
    code = (await browser.hand_over(alice)).code.reveal()
    sibling = Browser(apps, host=OTHER_HOST, state=browser.state)
    await refused(apps, sibling, code, f"the code is for {HOST}")
    # It was shown to somebody whom it was not for: it is good no more.
    await refused(apps, browser, code, "the code is used")


@pytest.mark.parametrize("state", [None, "0" * 64])
async def test_a_code_in_another_browser_d18(apps, state):
    """Whoever leads somebody else to their own code cannot put them into their own session."""
    alice = await apps.web_session()
    code = (await Browser(apps).hand_over(alice)).code.reveal()
    await refused(apps, Browser(apps, state=state), code, "the code is for another browser")


async def test_codes_that_are_none(apps):
    await refused(apps, Browser(apps), "0" * 64, "the code is unknown")
    alice, browser = await apps.web_session(), Browser(apps)
    code = (await browser.hand_over(alice)).code.reveal()
    # Threat E11: compared whole.
    await refused(apps, browser, code[:-1], "the code is unknown")


async def test_a_code_expires_d18(apps):
    alice, browser = await apps.web_session(), Browser(apps)
    code = (await browser.hand_over(alice)).code.reveal()
    assert CODE_MS == 60_000
    apps.world.clock.now += CODE_MS
    await refused(apps, browser, code, "the code is expired")


async def test_a_login_that_ended_on_the_way_e14(apps):
    alice, browser = await apps.web_session(), Browser(apps)
    code = (await browser.hand_over(alice)).code.reveal()
    assert await apps.world.login.logout(alice, client_address=CLIENT)
    await refused(apps, browser, code, "the login has ended")


async def test_a_way_is_gone_once_and_in_time(apps):
    alice, browser = await apps.web_session(), Browser(apps)
    key = await browser.begin()
    await apps.logins.enter(alice, key, client_address=CLIENT)
    late = await browser.begin()
    apps.world.clock.now += LOGIN_MS
    for over in (key, late, "0" * 64, ""):
        with pytest.raises(InvalidRequestError, match="open the application again"):
            await apps.logins.enter(alice, over, client_address=CLIENT)
        with pytest.raises(InvalidRequestError, match="open the application again"):
            await apps.logins.wanted(over)


async def test_one_key_is_one_code_e10(apps):
    alice, browser = await apps.web_session(), Browser(apps)
    key, codes = await browser.begin(), []

    async def enter():
        with suppress(InvalidRequestError):
            codes.append(await apps.logins.enter(alice, key, client_address=CLIENT))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(enter)
    assert len(codes) == 1


async def test_several_tabs_of_one_browser(apps):
    alice, browser = await apps.web_session(), Browser(apps)
    ways = [await browser.begin(f"https://{HOST}/{number}") for number in range(3)]
    for number, key in reversed(list(enumerate(ways))):
        way_back = await apps.logins.enter(alice, key, client_address=CLIENT)
        _, target = await browser.redeem(way_back.code.reveal())
        assert target == f"https://{HOST}/{number}"


async def test_who_may_not_is_told_and_it_is_on_record(apps):
    world = apps.world
    await world.user("bob", roles=())
    bob = await apps.web_session("bob")
    with pytest.raises(AccessDeniedError, match="application grafana is not open to you") as told:
        await Browser(apps).hand_over(bob)
    (event,) = await world.events("access.denied")
    assert event["id"] == told.value.event_id
    assert event["id"] in str(told.value)
    shown = {key: event[key] for key in ("user_name", "resource_type", "resource_name", "resource_labels")}
    assert shown == {
        "user_name": "bob",
        "resource_type": "app",
        "resource_name": "grafana",
        "resource_labels": {"env": "prod"},
    }


async def test_a_lock_comes_first_e14(apps):
    world = apps.world
    root = await world.user("root", roles=("admin",))
    alice = await apps.web_session()
    await world.locks.create(LockTarget.USER, "alice", message="lost laptop", by=root, client_address=CLIENT)
    with pytest.raises(AccessDeniedError, match="lost laptop"):
        await Browser(apps).hand_over(alice)


async def test_an_application_that_was_taken_away(apps):
    alice, browser = await apps.web_session(), Browser(apps)
    key = await browser.begin()
    apps.apps[HOST] = attrs.evolve(GRAFANA, enabled=False)
    with pytest.raises(UnavailableError, match="disabled"):
        await apps.logins.enter(alice, key, client_address=CLIENT)
    way_back = await _renamed(apps, alice, key)
    started, _ = await browser.redeem(way_back.code.reveal())
    del apps.apps[HOST]
    with pytest.raises(NotFoundError, match="no application"):
        await browser.hand_over(alice)
    code = way_back.code.reveal()
    assert started.row.host == HOST
    with pytest.raises(UnauthenticatedError):
        await browser.redeem(code)


async def _renamed(apps, alice, key):
    apps.apps[HOST] = App(name="graf", uri=GRAFANA.uri, public_addr=HOST, labels=GRAFANA.labels)
    return await apps.logins.enter(alice, key, client_address=CLIENT)


async def test_options_of_roles(apps):
    world = apps.world
    document = {
        "kind": "role",
        "version": "v1",
        "metadata": {"name": "short"},
        "spec": {
            "options": {"max_session_ttl": "1h", "idle_timeout": "2m", "pin_source_ip": True},
            "allow": {"app_labels": {"*": "*"}},
        },
    }
    await apps.put_role(document)
    await world.user("carol", roles=("short",))
    carol = await apps.web_session("carol")
    row = (await Browser(apps).arrive(carol)).row
    now = world.clock.now
    assert (row.ends_at - now, row.expires_at - now, row.idle_ms) == (HOUR, 120_000, 120_000)
    with pytest.raises(AccessDeniedError, match="pinned to your address"):
        await Browser(apps, client="198.51.100.9:1").hand_over(carol)
    document["spec"]["options"] = {"require_trusted_device": True}
    await apps.put_role(document)
    with pytest.raises(AccessDeniedError, match="no browser can show"):
        await Browser(apps).hand_over(await apps.web_session("carol"))


async def test_there_is_an_end_to_beginning(apps, monkeypatch):
    browser = Browser(apps)
    monkeypatch.setattr("mezite.services.apps.logins.MAX_UNDER_WAY", 100)
    first = await browser.begin()
    apps.world.clock.now += 1
    keys = [await browser.begin() for _ in range(99)]
    assert (await apps.logins.wanted(first)).name == "grafana"
    # Whoever fills it shuts nobody out: the oldest makes room.
    last = await browser.begin()
    with pytest.raises(InvalidRequestError, match="more than 10 minutes old"):
        await apps.logins.wanted(first)
    for key in (keys[0], keys[-1], last):
        assert (await apps.logins.wanted(key)).name == "grafana"
    with suppress(TooManyRequestsError):
        for _ in range(500):
            apps.logins._starts.take(CLIENT)
    with pytest.raises(TooManyRequestsError, match="from this address"):
        await browser.begin()


async def asked_for(apps, needs):
    """A user with a code generator, whose role asks for a factor."""
    document = {
        "kind": "role",
        "version": "v1",
        "metadata": {"name": "careful"},
        "spec": {"options": {"require_session_mfa": needs}, "allow": {"app_labels": {"*": "*"}}},
    }
    await apps.put_role(document)
    dora = await apps.world.user("dora", roles=("careful",))
    phone = await add_totp(apps.world, dora)
    return await apps.web_session("dora", factor=FactorShown.TOTP), phone


async def test_a_factor_before_the_session_e8(apps):
    dora, phone = await asked_for(apps, "totp")
    browser = Browser(apps)
    key = await browser.begin()
    assert await apps.logins.enter(dora, key, client_address=CLIENT) is None
    app, pending = await apps.logins.ask_proof(dora, key, client_address=CLIENT)
    assert (app.name, pending.factors) == ("grafana", ("totp",))
    proofs, proof_id = apps.world.factors.sessions, pending.id.reveal()
    assert await apps.logins.enter(dora, key, client_address=CLIENT) is None
    await proofs.show_code("dora", proof_id, phone.fresh_code(), client_address=CLIENT)
    # Threat E7: shown for one application in one web session, it is good nowhere else.
    wikis = await Browser(apps, host=OTHER_HOST).begin()
    assert await apps.logins.enter(dora, wikis, client_address=CLIENT) is None
    elsewhere = await apps.web_session("dora", factor=FactorShown.TOTP)
    assert await apps.logins.enter(elsewhere, key, client_address=CLIENT) is None
    way_back = await apps.logins.enter(dora, key, client_address=CLIENT)
    started, _ = await browser.redeem(way_back.code.reveal())
    assert started.row.factor == "totp"
    proof = proof_of_session(started.row, app)
    assert (proof.user_name, proof.factor.value, proof.targets) == ("dora", "totp", {"grafana"})
    # The next session needs the next proof.
    assert await apps.logins.enter(dora, await browser.begin(), client_address=CLIENT) is None
    assert (
        await apps.logins.ask_proof(await apps.web_session(), await browser.begin(), client_address=CLIENT)
    )[1] is None


async def test_a_factor_that_does_not_do_e8(apps):
    dora, _ = await asked_for(apps, "hardware_key")
    with pytest.raises(AccessDeniedError, match="hardware_key"):
        await apps.logins.ask_proof(dora, await Browser(apps).begin(), client_address=CLIENT)
