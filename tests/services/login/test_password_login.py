# SPDX-License-Identifier: Apache-2.0
"""Passwords in, sessions out; and all the ways to be refused."""

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mezite.core.secret import token_hash
from mezite.services.errors import UnauthenticatedError, UnavailableError
from mezite.services.login.attempts import LOCK_MS, MAX_ATTEMPTS
from mezite.services.login.password_login import SESSION_MS, LoginRefusedError, LoginService
from mezite.services.login.password_rules import MAX_PASSWORD, WeakPasswordError, check_password_strength
from mezite.services.users.accounts import INVITE_MS
from mezite.storage import users, web_sessions
from tests.services.world import CLIENT, PASSWORD, START, copy_template, open_world

NEW_PASSWORD = "another long password"


async def log_in(world, name="alice", password=PASSWORD):
    return await world.login.with_password(name, password, client_address=CLIENT)


async def refusal(world, name="alice", password="wrong password", client=CLIENT):
    with pytest.raises(LoginRefusedError) as refused:
        await world.login.with_password(name, password, client_address=client)
    return refused.value


async def test_a_right_password_starts_a_session(world):
    await world.user("alice", roles=("access", "auditor"))
    started = await log_in(world)
    assert started.user.name == "alice"
    assert started.expires_at == START + SESSION_MS == START + 12 * 3600 * 1000
    row = await world.database.read(web_sessions.get, token_hash=token_hash(started.token.reveal()))
    assert (row.user_name, row.client_ip, row.expires_at) == ("alice", CLIENT, started.expires_at)
    event = (await world.events("user.login"))[-1]
    assert (event["user_name"], event["client_ip"], event["method"]) == ("alice", "192.0.2.7", "local")
    assert event["user_roles"] == ["access", "auditor"]


async def test_secrets_stay_out_of_reprs_and_the_audit_log(world):
    """Threats E11, H6: a token and a password are shown to nobody but their owner."""
    await world.user("alice")
    started = await log_in(world)
    await refusal(world, password="canary password")
    token = started.token.reveal()
    assert len(token) == 64
    assert token not in repr(started)
    log = str(await world.events())
    assert token not in log
    assert "canary" not in log
    assert PASSWORD not in log


async def test_a_wrong_password_is_refused_and_audited(world):
    await world.user("alice")
    error = await refusal(world)
    event = (await world.events("user.login.failed"))[-1]
    assert event["id"] == error.event_id
    assert (event["user_name"], event["success"]) == ("alice", False)
    assert event["error_message"] == "wrong user name or password"


@pytest.mark.parametrize(
    "name", ["nobody", "", "Alice", "alice ", "a\0b", "\ud800", "x" * 10_000, "alice' OR '1'='1"]
)
async def test_unknown_names_are_refused_alike(world, name):
    """Threat E17, E12: no other spelling of a name is that name, and none breaks anything."""
    await world.user("alice")
    known = await refusal(world)
    unknown = await refusal(world, name, PASSWORD)
    assert str(unknown) == str(known)
    event = (await world.events("user.login.failed"))[-1]
    assert len(event["user_name"]) <= 128


async def test_a_lock_says_the_same_about_names_that_exist_and_that_do_not(world):
    """Threat E17: six wrong passwords must not tell whether there is such a user."""
    await world.user("alice")
    known = [str(await refusal(world, "alice")) for _ in range(MAX_ATTEMPTS + 2)]
    unknown = [str(await refusal(world, "nobody")) for _ in range(MAX_ATTEMPTS + 2)]
    assert known == unknown
    assert "locked for 30m" in known[0]
    reasons = [event["error_message"] for event in await world.events("user.login.failed")]
    assert reasons.count("locked out") == 3, (
        "the fifth failure and those after it, for who reads the audit log"
    )


async def test_five_failures_lock_the_name_for_half_an_hour(world):
    await world.user("alice")
    await world.user("bob")
    for _ in range(MAX_ATTEMPTS):
        await refusal(world)
    await refusal(world, password=PASSWORD)
    await log_in(world, "bob")
    world.clock.now += LOCK_MS - 1
    await refusal(world, password=PASSWORD)
    world.clock.now += 1
    assert (await log_in(world)).user.name == "alice"
    assert (MAX_ATTEMPTS, LOCK_MS) == (5, 30 * 60 * 1000)


async def test_the_lock_is_on_the_name_not_on_the_address(world):
    """Guessing from many addresses is guessing all the same."""
    await world.user("alice")
    for number in range(MAX_ATTEMPTS):
        with pytest.raises(LoginRefusedError):
            await world.login.with_password("alice", "wrong", client_address=f"192.0.2.{number}:1")
    with pytest.raises(LoginRefusedError):
        await world.login.with_password("alice", PASSWORD, client_address="198.51.100.1:1")


async def test_a_success_forgets_failures(world):
    await world.user("alice")
    for _ in range(3):
        for _ in range(MAX_ATTEMPTS - 1):
            await refusal(world)
        await log_in(world)


async def test_guesses_sent_at_once_are_counted_one_by_one(world):
    """Fifty at once are not fifty tries before the first is counted: at most five are looked at."""
    await world.user("alice")
    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(refusal, world, "alice", "wrong password", f"192.0.2.{number}:1")
    row = await world.database.read(users.get, name="alice")
    assert row.failed_logins == MAX_ATTEMPTS
    await refusal(world, password=PASSWORD)


async def test_a_flood_of_guesses_keeps_nobody_else_out(world):
    """Threat A11: what one client may have under way is bounded, is not counted beyond, and others take turns."""
    await world.user("alice")
    checked, unavailable, go_on = [], [], trio.Event()

    class SlowPasswords:
        async def verify(self, stored, password):
            checked.append(password)
            await go_on.wait()
            return password == PASSWORD

    login = LoginService(
        database=world.database,
        passwords=SlowPasswords(),
        codes=world.codes,
        audit=world.audit,
        sources=world.sources,
    )

    async def guess(number):
        try:
            await login.with_password("bob", f"guess {number}", client_address=f"198.51.100.1:{number + 1}")
        except UnavailableError:
            unavailable.append(number)
        except LoginRefusedError:
            pass

    async def flood():
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(guess, number)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(flood)
        while len(checked) < 4 or len(unavailable) < 80:
            await trio.lowlevel.checkpoint()
        nursery.start_soon(log_in_at, login, "alice")
        await trio.testing.wait_all_tasks_blocked()
        go_on.set()
    assert len(unavailable) == 80
    assert checked.index(PASSWORD) < 14, "the twenty guesses that were there first did not all go first"


async def log_in_at(login, name):
    await login.with_password(name, PASSWORD, client_address=CLIENT)


async def test_disabled_users_and_users_without_a_password_are_refused(world):
    """Threat E6: a disabled user does not come back by logging in."""
    await world.user("alice")
    await world.database.write(users.set_disabled, name="alice", disabled=True, now=START)
    await world.accounts.create("invited", roles=(), traits={}, by="root")
    for name in ("alice", "invited"):
        assert "wrong user name" in str(await refusal(world, name, PASSWORD))
    assert "wrong user name" in str(await refusal(world, "invited", ""))


async def test_a_password_counts_whole(world):
    """Threat E11: what is cut off before it is compared would fit."""
    long = "x" * MAX_PASSWORD
    await world.accounts.create("alice", roles=(), traits={}, password=long, by="root")
    await log_in(world, "alice", long)
    await refusal(world, "alice", long + "y")
    await refusal(world, "alice", long[:-1])


async def test_logging_out_ends_that_session(world):
    alice, token = await world.user("alice"), await world.token("alice")
    assert await world.login.logout(alice, client_address=CLIENT)
    assert not await world.login.logout(alice, client_address=CLIENT)
    assert (await world.authenticator.by_session(token)).name == "alice"
    with pytest.raises(UnauthenticatedError):
        await world.login.logout(await by_hash(world, alice), client_address=CLIENT)
    assert [event["user_name"] for event in await world.events("user.logout")] == ["alice"]


async def by_hash(world, identity):
    row = await world.database.read(
        web_sessions.get_live, token_hash=identity.session_hash, now=world.clock.now
    )
    if row is None:
        raise UnauthenticatedError("gone")
    return identity


async def test_a_certificate_cannot_log_out(world):
    identity = await world.by_certificate(await world.issue(await world.user("alice")))
    assert not await world.login.logout(identity, client_address=CLIENT)
    assert await world.events("user.logout") == []


async def change(world, identity, old=PASSWORD, new=NEW_PASSWORD):
    await world.login.change_password(identity, old=old, new=new, client_address=CLIENT)


async def test_changing_the_password_ends_all_other_sessions(world):
    await world.user("alice")
    mine, other = await world.token("alice"), await world.token("alice")
    await change(world, await world.authenticator.by_session(mine))
    assert (await world.authenticator.by_session(mine)).name == "alice"
    with pytest.raises(UnauthenticatedError):
        await world.authenticator.by_session(other)
    await log_in(world, "alice", NEW_PASSWORD)
    await refusal(world, "alice", PASSWORD)
    (event,) = await world.events("user.updated")
    assert (event["user_name"], event["resource_name"], event["password_changed"]) == ("alice", "alice", True)
    assert len(await world.events("user.login")) == 4, "changing a password is not a login"


async def test_changing_the_password_needs_the_old_one(world):
    alice = await world.user("alice")
    with pytest.raises(LoginRefusedError):
        await change(world, alice, old="wrong")
    with pytest.raises(WeakPasswordError):
        await change(world, alice, new="short")
    await log_in(world)
    assert await world.events("user.updated") == []


async def test_guessing_the_old_password_locks_too(world):
    """A stolen session must not be a way round the lock."""
    alice = await world.user("alice")
    for _ in range(MAX_ATTEMPTS):
        with pytest.raises(LoginRefusedError):
            await change(world, alice, old="wrong")
    with pytest.raises(LoginRefusedError):
        await change(world, alice)


async def test_setting_the_password_of_nobody(world):
    assert not await world.login.set_password("nobody", PASSWORD)


@pytest.mark.parametrize("password", ["", "x" * 11, "x" * 1025])
def test_weak_passwords(password):
    with pytest.raises(WeakPasswordError, match=str(len(password))):
        check_password_strength(password)
    assert check_password_strength("x" * 12) == "x" * 12
    assert check_password_strength("x" * 1024) == "x" * 1024


async def invite(world, name="carol"):
    created = await world.accounts.create(name, roles=("access",), traits={}, by="root")
    return created.invite_token.reveal()


async def accept(world, token, password=PASSWORD):
    return await world.login.accept_invite(token, password, client_address=CLIENT)


async def test_an_invite_sets_the_first_password(world):
    token = await invite(world)
    assert await accept(world, token) == "carol"
    await log_in(world, "carol")
    (event,) = await world.events("user.updated")
    assert (event["user_name"], event["method"]) == ("carol", "invite")


async def test_an_invite_ends_when_a_password_is_set_otherwise(world):
    """Whoever finds the forgotten link must not set a password over it."""
    token = await invite(world)
    await world.accounts.update("carol", roles=None, traits=None, password=PASSWORD, by="root")
    with pytest.raises(LoginRefusedError, match="the invite is unknown"):
        await accept(world, token, NEW_PASSWORD)
    await log_in(world, "carol")


async def test_an_invite_works_once(world):
    """Threat E10."""
    token = await invite(world)
    await accept(world, token)
    with pytest.raises(LoginRefusedError, match="the invite is used") as refused:
        await accept(world, token, NEW_PASSWORD)
    event = (await world.events("user.login.failed"))[-1]
    assert (event["id"], event["method"]) == (refused.value.event_id, "invite")
    await log_in(world, "carol")


class PasswordsWithAPause:
    """Says yes, but lets something happen first: a check takes tens of milliseconds."""

    def __init__(self, meanwhile):
        self._meanwhile = meanwhile

    async def verify(self, stored, password):
        await self._meanwhile()
        return True


@pytest.mark.parametrize("change", ["password", "disabled", "deleted"])
async def test_what_changes_while_a_password_is_checked_counts(world, change):
    """Threat E6: a change of the password ends all sessions, also one that begins a moment later."""
    root = await world.user("root", roles=("admin",))
    await world.user("alice")

    async def meanwhile():
        if change == "password":
            await world.login.set_password("alice", NEW_PASSWORD)
        elif change == "disabled":
            await world.database.write(users.set_disabled, name="alice", disabled=True, now=START)
        else:
            await world.accounts.delete("alice", by=root, client_address="")

    login = LoginService(
        database=world.database,
        passwords=PasswordsWithAPause(meanwhile),
        codes=world.codes,
        audit=world.audit,
        sources=world.sources,
    )
    with pytest.raises(LoginRefusedError):
        await login.with_password("alice", PASSWORD, client_address=CLIENT)
    live = await world.database.read(web_sessions.list_live, user_name="alice", now=START)
    assert len(live) == (1 if change == "disabled" else 0), "none but the one from before"


async def test_of_many_who_use_an_invite_at_once_one_wins(world):
    """Threat E10."""
    token = await invite(world)
    winners = []

    async def use(number):
        try:
            await accept(world, token, f"password number {number}")
        except LoginRefusedError:
            return
        winners.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(use, number)
    assert len(winners) == 1
    await log_in(world, "carol", f"password number {winners[0]}")


async def test_a_short_password_does_not_cost_the_invite(world):
    token = await invite(world)
    with pytest.raises(WeakPasswordError):
        await accept(world, token, "short")
    assert await accept(world, token) == "carol"


async def test_an_invite_ends(world):
    token = await invite(world)
    world.clock.now += INVITE_MS
    with pytest.raises(LoginRefusedError, match="expired"):
        await accept(world, token)


async def test_no_part_of_an_invite_is_one(world):
    """Threat E11: every prefix is refused, and so is the stored hash."""
    token = await invite(world)
    for wrong in ("", token[:-1], token[:32], token + "0", token.upper() + " ", token_hash(token)):
        with pytest.raises(LoginRefusedError, match="unknown"):
            await accept(world, wrong)
    assert await accept(world, token) == "carol"


@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(attempts=st.lists(st.sampled_from(["right", "wrong", "wait", "half"]), max_size=14))
def test_the_lock_against_a_model(world_template, tmp_path_factory, attempts):
    """A naive count of failures says when the right password is let in."""
    path = copy_template(world_template, tmp_path_factory.mktemp("model"))
    trio.run(play, path, attempts)


async def play(path, attempts):
    async with open_world(path) as world:
        await world.accounts.create("alice", roles=(), traits={}, password=PASSWORD, by="root")
        failures, locked_until, last = 0, 0, None
        for attempt in attempts:
            now = world.clock.now
            if attempt in {"wait", "half"}:
                world.clock.now += LOCK_MS if attempt == "wait" else LOCK_MS // 2
                continue
            if now >= locked_until:
                if locked_until or last is None or now - last >= LOCK_MS:
                    failures, locked_until = 0, 0
                failures, last = failures + 1, now
                allowed = True
                if failures >= MAX_ATTEMPTS:
                    locked_until = now + LOCK_MS
            else:
                allowed = False
            if attempt == "right" and allowed:
                await log_in(world)
                failures, locked_until, last = 0, 0, None
            else:
                await refusal(world, password=PASSWORD if attempt == "right" else "wrong")
