# SPDX-License-Identifier: Apache-2.0
"""Programs for which somebody signs in."""

import hashlib

import attrs
import pytest
import trio

from mezite.services.errors import (
    InvalidRequestError,
    NotFoundError,
    TooManyRequestsError,
    UnauthenticatedError,
)
from mezite.services.sso.clients import CODE_LETTERS, ClientRequest
from mezite.services.sso.login import ROUND_TRIP_MS
from mezite.storage import users, web_sessions
from tests.services.sso.identity_provider import FakeOidc, serving
from tests.services.sso.world import Visitor, connect, open_world_sso
from tests.services.world import CLIENT, HOUR, SSH_PUBLIC_LINE, START, TLS_PUBLIC_PEM, certificate_der

VERIFIER = "v" * 43
CALLBACK = "http://127.0.0.1:40000/" + "r" * 32
DEVICE = ClientRequest(
    connector="idp",
    challenge=hashlib.sha256(VERIFIER.encode()).hexdigest(),
    ssh_public_key=SSH_PUBLIC_LINE,
    tls_public_key_pem=TLS_PUBLIC_PEM.decode(),
    ttl_seconds=3600,
)
LOOPBACK = attrs.evolve(DEVICE, callback_url=CALLBACK)
ELSEWHERE = "198.51.100.9:1"


@pytest.fixture
async def visitor(world):
    async with serving(FakeOidc, lambda: world.clock.now // 1000) as idp:
        sso = open_world_sso(world)
        await connect(sso, idp)
        yield Visitor(sso, idp, client=ELSEWHERE)


@pytest.fixture
def clients(visitor):
    return visitor.sso.clients


async def begin(clients, request=DEVICE):
    return await clients.begin(request, client_address=CLIENT)


async def finish(clients, begun, code="", verifier=VERIFIER):
    return await clients.finish(begun.handle.reveal(), verifier, code, client_address=CLIENT)


async def signed_in(visitor, begun):
    """What the browser gets after signing in for the program."""
    name, hashed = await visitor.sso.clients.connector_of(begun.handle.reveal())
    came_back = await visitor.sign_in(name, client_login=hashed)
    return await visitor.sso.clients.arrived(came_back, visitor.cookie)


async def test_a_program_with_a_browser(world, visitor, clients):
    begun = await begin(clients, LOOPBACK)
    assert (begun.user_code, begun.expires_at) == ("", START + ROUND_TRIP_MS)
    assert await finish(clients, begun) is None
    url = await signed_in(visitor, begun)
    address, _, code = url.partition("?code=")
    assert address == CALLBACK
    issued = await finish(clients, begun, code)
    assert (issued.user_name, issued.roles, issued.logins) == ("alice", ("access",), ("alice",))
    assert issued.certificates.expires_at == START + HOUR
    peer = world.authorities.verify_client(
        certificate_der(issued.certificates.tls_certificate_pem), now=START
    )
    assert peer.name == "alice"
    assert await world.database.read(web_sessions.list_live, user_name="alice", now=START) == []
    (login,) = await world.events("user.login")
    assert (login["user_name"], login["method"], login["client_ip"]) == ("alice", "sso", "192.0.2.7")


async def test_a_program_without_a_browser(world, visitor, clients):
    begun = await begin(clients)
    assert len(begun.user_code) == 9
    assert set(begun.user_code) <= {*CODE_LETTERS, "-"}
    for spelling in (begun.user_code, begun.user_code.lower().replace("-", " ")):
        question, hashed = await clients.look_up(spelling, client_address=ELSEWHERE)
    assert (question.connector, question.client_address, question.user_name) == ("idp", CLIENT, "")
    came_back = await visitor.sign_in(client_login=hashed)
    question = await clients.arrived(came_back, visitor.cookie)
    assert (question.user_name, question.user_code) == ("alice", begun.user_code)
    assert await finish(clients, begun) is None
    decided = await clients.decide(question.token, visitor.cookie, allowed=True, client_address=ELSEWHERE)
    assert decided.user_name == "alice"
    assert (await finish(clients, begun)).user_name == "alice"


async def test_a_person_who_does_not_know_the_program(world, visitor, clients):
    """Somebody was sent a code by somebody else."""
    begun = await begin(clients)
    question = await signed_in(visitor, begun)
    await clients.decide(question.token, visitor.cookie, allowed=False, client_address=ELSEWHERE)
    with pytest.raises(UnauthenticatedError, match="did not allow this sign-in"):
        await finish(clients, begun)
    with pytest.raises(UnauthenticatedError, match="answered already"):
        await clients.decide(question.token, visitor.cookie, allowed=True, client_address=ELSEWHERE)
    (event,) = await world.events("user.login.failed")
    assert (event["user_name"], event["client_ip"]) == ("alice", "192.0.2.7")
    assert event["error_message"] == f"refused by the person at {ELSEWHERE}"


@pytest.mark.parametrize(("token", "cookie"), [("right", "0" * 64), ("0" * 64, "right"), ("", "")])
async def test_only_the_browser_that_was_asked_answers(visitor, clients, token, cookie):
    question = await signed_in(visitor, await begin(clients))
    given = question.token if token == "right" else token
    with pytest.raises(UnauthenticatedError, match="answered already"):
        await clients.decide(
            given, visitor.cookie if cookie == "right" else cookie, allowed=True, client_address=ELSEWHERE
        )


async def test_without_the_programs_secret_nothing_is_given(world, visitor, clients):
    begun = await begin(clients, LOOPBACK)
    code = (await signed_in(visitor, begun)).partition("?code=")[2]
    with pytest.raises(UnauthenticatedError, match="not the program that began"):
        await finish(clients, begun, code, verifier="w" * 43)
    for wrong in ("", "0" * 64, code[:-1]):
        with pytest.raises(UnauthenticatedError, match="the code is wrong"):
            await finish(clients, begun, wrong)
    assert (await finish(clients, begun, code)).user_name == "alice"
    assert len(await world.events("user.login.failed")) == 4


async def test_what_was_fetched_is_gone(visitor, clients):
    """Threat E10."""
    begun = await begin(clients, LOOPBACK)
    code = (await signed_in(visitor, begun)).partition("?code=")[2]
    found = []

    async def fetch():
        try:
            found.append((await finish(clients, begun, code)).user_name)
        except (UnauthenticatedError, NotFoundError):
            found.append("")

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(fetch)
    assert sorted(found)[-2:] == ["", "alice"]


async def test_the_first_to_sign_in_is_the_one(visitor, clients):
    begun = await begin(clients)
    await signed_in(visitor, begun)
    visitor.provider.person.update(sub="u-2", preferred_username="mallory")
    with pytest.raises(UnauthenticatedError, match="somebody has signed in for this program already"):
        await signed_in(attrs.evolve(visitor, cookie=None), begun)
    with pytest.raises(NotFoundError):
        await clients.look_up(begun.user_code, client_address=ELSEWHERE)


async def test_a_user_who_is_disabled_meanwhile(world, visitor, clients):
    begun = await begin(clients, LOOPBACK)
    code = (await signed_in(visitor, begun)).partition("?code=")[2]
    await world.database.write(users.set_disabled, name="alice", disabled=True, now=START)
    with pytest.raises(UnauthenticatedError, match="disabled"):
        await finish(clients, begun, code)


async def test_ten_minutes(world, visitor, clients):
    begun = await begin(clients)
    world.clock.now += ROUND_TRIP_MS
    with pytest.raises(NotFoundError, match="more than 10 minutes old"):
        await finish(clients, begun)
    with pytest.raises(NotFoundError, match="more than 10 minutes old"):
        await clients.look_up(begun.user_code, client_address=ELSEWHERE)
    with pytest.raises(NotFoundError):
        await clients.connector_of(begun.handle.reveal())


async def test_guessing_codes_comes_to_an_end(clients):
    for _ in range(30):
        with pytest.raises(NotFoundError, match="no such code"):
            await clients.look_up("BCDF-GHJK", client_address=ELSEWHERE)
    with pytest.raises(TooManyRequestsError, match="too many wrong codes"):
        await clients.look_up("BCDF-GHJK", client_address=ELSEWHERE)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"connector": "nobody"}, NotFoundError),
        ({"challenge": "x"}, InvalidRequestError),
        ({"challenge": "G" * 64}, InvalidRequestError),
        ({"callback_url": "https://evil.example/"}, InvalidRequestError),
        ({"callback_url": "http://localhost:40000/" + "r" * 32}, InvalidRequestError),
        ({"ttl_seconds": -1}, InvalidRequestError),
        ({"ttl_seconds": 24 * 3600 + 1}, InvalidRequestError),
        ({"ssh_public_key": ""}, InvalidRequestError),
        ({"tls_public_key_pem": "x" * 20_000}, InvalidRequestError),
    ],
)
async def test_what_begins_nothing(clients, changes, error):
    with pytest.raises(error):
        await begin(clients, attrs.evolve(DEVICE, **changes))


async def test_keys_that_are_none(visitor, clients):
    begun = await begin(clients, attrs.evolve(LOOPBACK, ssh_public_key="ssh-ed25519 AAAA"))
    code = (await signed_in(visitor, begun)).partition("?code=")[2]
    with pytest.raises(InvalidRequestError):
        await finish(clients, begun, code)
