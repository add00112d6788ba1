# SPDX-License-Identifier: Apache-2.0
"""Forged, expired, replayed and cross-used credentials of every family: refused, and in the audit log.

Threats A4, B2, E1, E6, E11, F8. What the certificate verifiers themselves refuse has matrices of its own in
tests/core/certificates; here it is shown to the doors of a hub.
"""

import json

import pytest

from mezite.api.pb.mezite.v1 import auth_pb2, enrollment_pb2
from mezite.api.rpc import StatusCode
from mezite.core.certificates.keys import generate_ed25519, generate_p256
from mezite.core.secret import token_hash
from mezite.storage import agents, users
from mezite.testing.certificates import ThrowAwayCa
from mezite.testing.self_signed import self_signed_pem
from tests.api.services import calling
from tests.services.world import CLIENT, CLUSTER, HOUR, PASSWORD, SSH_PUBLIC_LINE, START, TLS_PUBLIC_PEM
from tests.web.browser import browsing, make_app

OTHER_PASSWORD = "quite-another-one"


async def delete_user(world, name):
    await world.user("root", roles=("admin",))
    await world.accounts.delete(name, by=await world.session("root"), client_address=CLIENT)


# ---- sessions: each makes a token that nobody may get in with


async def made_up(_world):
    return "7f" * 32


async def zeros(_world):
    return "0" * 64


async def very_long(_world):
    return "a" * 4000


async def the_hash_of_a_session(world):
    return token_hash(await world.token("alice"))


async def a_session_cut_short(world):
    return (await world.token("alice"))[:-1]


async def a_session_and_more(world):
    return await world.token("alice") + "0"


async def a_session_with_one_other_character(world):
    token = await world.token("alice")
    return ("b" if token[0] == "a" else "a") + token[1:]


async def a_session_spelt_in_other_letters(world):
    token = await world.token("alice")
    assert token.swapcase() != token
    return token.swapcase()


async def an_expired_session(world):
    token = await world.token("alice")
    world.clock.now += 13 * HOUR
    return token


async def a_session_that_was_logged_out(world):
    token = await world.token("alice")
    await world.login.logout(await world.authenticator.by_session(token), client_address=CLIENT)
    return token


async def a_session_from_before_a_new_password(world):
    token = await world.token("alice")
    await world.login.set_password("alice", OTHER_PASSWORD)
    return token


async def a_session_of_a_disabled_user(world):
    token = await world.token("alice")
    await world.database.write(users.set_disabled, name="alice", disabled=True, now=START)
    return token


async def a_session_of_a_deleted_user(world):
    token = await world.token("alice")
    await delete_user(world, "alice")
    return token


async def a_session_of_a_user_who_was_made_again(world):
    token = await a_session_of_a_deleted_user(world)
    await world.user("alice")
    return token


async def a_join_token(world):
    created = await world.enrollment.create_token(roles=("node",), ttl_seconds=60, labels={}, by="root")
    return created.text.reveal()


async def the_secret_of_a_join_token(world):
    return await world.join_token()


async def an_invite(world):
    created = await world.accounts.create("carol", roles=("admin",), traits={}, by="root")
    return created.invite_token.reveal()


async def a_password(_world):
    return PASSWORD


async def an_agent_id(world):
    return (await world.join()).agent.agent_id


async def a_ssh_certificate(world):
    issued = await world.issue(await world.session("alice"))
    return issued.certificates.ssh_certificate.split()[1]


SESSIONS = (
    made_up,
    zeros,
    very_long,
    the_hash_of_a_session,
    a_session_cut_short,
    a_session_and_more,
    a_session_with_one_other_character,
    a_session_spelt_in_other_letters,
    an_expired_session,
    a_session_that_was_logged_out,
    a_session_from_before_a_new_password,
    a_session_of_a_disabled_user,
    a_session_of_a_deleted_user,
    a_session_of_a_user_who_was_made_again,
    a_join_token,
    the_secret_of_a_join_token,
    an_invite,
    a_password,
    an_agent_id,
    a_ssh_certificate,
)


# ---- certificates that TLS has proven possession of


def throw_away(world):
    """CAs of another cluster of the same name."""
    return ThrowAwayCa(world.clock.now // 1000, cluster=CLUSTER)


async def users_of_another_ca(world):
    return throw_away(world).user("alice").certificate_pem.decode()


async def agents_of_another_ca(world):
    enrolled = await world.join()
    return throw_away(world).agent(enrolled.agent.agent_id).certificate_pem.decode()


async def hubs_of_another_ca(world):
    return throw_away(world).hub().certificate_pem.decode()


async def this_hubs_own(world):
    issued = world.authorities.issue_hub(
        hub_id="hub-2",
        tls_key=generate_p256(),
        ssh_key=generate_ed25519(),
        names=("localhost",),
        addresses=(),
    )
    return issued.tls_certificate_pem.decode()


async def the_ca_itself(world):
    return world.authorities.host_tls_ca_pem[0]


async def self_signed(_world):
    return self_signed_pem()[0].decode()


async def users_certificate(world):
    return (await world.issue(await world.session("alice"))).certificates.tls_certificate_pem


async def an_expired_one(world):
    pem = await users_certificate(world)
    world.clock.now += 25 * HOUR
    return pem


async def one_from_tomorrow(world):
    pem = await users_certificate(world)
    world.clock.now -= 24 * HOUR
    return pem


async def a_disabled_users(world):
    pem = await users_certificate(world)
    await world.database.write(users.set_disabled, name="alice", disabled=True, now=START)
    return pem


async def a_deleted_users(world):
    pem = await users_certificate(world)
    await delete_user(world, "alice")
    return pem


async def one_of_a_user_who_was_made_again(world):
    pem = await a_deleted_users(world)
    world.clock.now += HOUR
    await world.user("alice")
    return pem


async def an_expired_agents(world):
    pem = (await world.join()).certificates.tls_certificate_pem
    world.clock.now += 25 * HOUR
    return pem


async def a_locked_agents(world):
    enrolled = await world.join()
    await world.database.write(agents.lock, agent_id=enrolled.agent.agent_id, reason="lost", now=START)
    return enrolled.certificates.tls_certificate_pem


async def a_removed_agents(world):
    enrolled = await world.join()
    await world.database.write(agents.remove, agent_id=enrolled.agent.agent_id, now=START)
    return enrolled.certificates.tls_certificate_pem


CERTIFICATES = (
    users_of_another_ca,
    agents_of_another_ca,
    hubs_of_another_ca,
    this_hubs_own,
    the_ca_itself,
    self_signed,
    an_expired_one,
    one_from_tomorrow,
    a_disabled_users,
    a_deleted_users,
    one_of_a_user_who_was_made_again,
    an_expired_agents,
    a_locked_agents,
    a_removed_agents,
)


# ---- join tokens and invites


async def a_used_join_token(world):
    secret = await world.join_token()
    await world.enrollment.join(world.join_request(secret), client_address=CLIENT)
    return secret


async def an_expired_join_token(world):
    secret = await world.join_token(ttl_seconds=60)
    world.clock.now += 61_000
    return secret


async def a_deleted_join_token(world):
    secret = await world.join_token()
    (listed,) = await world.enrollment.list_tokens()
    await world.enrollment.delete_token(listed.token_hash[:16], by="root", client_address=CLIENT)
    return secret


async def a_join_token_cut_short(world):
    return (await world.join_token())[:-1]


async def the_hash_of_a_join_token(world):
    return token_hash(await world.join_token())


async def a_session(world):
    return await world.token("alice")


JOIN_TOKENS = (
    made_up,
    a_used_join_token,
    an_expired_join_token,
    a_deleted_join_token,
    a_join_token_cut_short,
    the_hash_of_a_join_token,
    a_session,
    an_invite,
)


async def a_used_invite(world):
    token = await an_invite(world)
    await world.login.accept_invite(token, PASSWORD, client_address=CLIENT)
    return token


async def an_expired_invite(world):
    token = await an_invite(world)
    world.clock.now += 30 * 24 * HOUR
    return token


async def an_invite_of_a_deleted_user(world):
    token = await an_invite(world)
    await delete_user(world, "carol")
    return token


async def the_hash_of_an_invite(world):
    return token_hash(await an_invite(world))


INVITES = (
    made_up,
    a_used_invite,
    an_expired_invite,
    an_invite_of_a_deleted_user,
    the_hash_of_an_invite,
    a_session,
    the_secret_of_a_join_token,
)


async def another_users_password(world):
    await world.accounts.create("dave", roles=(), traits={}, password=OTHER_PASSWORD, by="root")
    return OTHER_PASSWORD


async def the_password_in_capitals(_world):
    assert PASSWORD.upper() != PASSWORD
    return PASSWORD.upper()


async def the_password_and_a_newline(_world):
    return PASSWORD + "\n"


async def the_stored_hash(world):
    return (await world.database.read(users.get, name="alice")).password_hash


PASSWORDS = (
    made_up,
    another_users_password,
    the_password_in_capitals,
    the_password_and_a_newline,
    the_stored_hash,
    a_session,
)


async def test_there_are_enough():
    kinds = 2 * len(SESSIONS) + len(CERTIFICATES) + len(JOIN_TOKENS) + len(INVITES) + 2 * len(PASSWORDS)
    assert kinds >= 60


@pytest.fixture
async def alice(world):
    await world.user("alice")
    return world


async def recorded(world, forged):
    """The one refusal in the audit log, which does not give the secret away."""
    events = [event for event in await world.events() if not event["success"]]
    (event,) = events
    assert event["client_ip"] == "192.0.2.7"
    assert forged not in json.dumps(event)
    return event["event_type"], event["error_message"]


async def refused_over_grpc(world, name="AuthService/Logout", request=None, **credential):
    async with calling(world, **credential) as call:
        error = await call.refused(name, request)
    assert error.status in (StatusCode.UNAUTHENTICATED, StatusCode.PERMISSION_DENIED)
    return error


async def refused_over_http(world, path, fields, token=""):
    async with browsing(make_app(world)[0], token) as browser:
        answer = await browser.post(path, fields)
    assert answer.status == 401
    return json.loads(answer.body)["error"]


@pytest.mark.parametrize("forge", SESSIONS)
async def test_session_over_grpc(alice, forge):
    token = await forge(alice)
    await refused_over_grpc(alice, token=token)
    assert (await recorded(alice, token))[0] == "authz.denied"


@pytest.mark.parametrize("forge", SESSIONS)
async def test_session_over_http(alice, forge):
    token = await forge(alice)
    error = await refused_over_http(alice, "logout", {}, token)
    kind, message = await recorded(alice, token)
    assert (kind, message) == ("authz.denied", error["message"])
    assert error["event_id"]


@pytest.mark.parametrize("forge", CERTIFICATES)
async def test_certificate(alice, forge):
    pem = await forge(alice)
    error = await refused_over_grpc(alice, certificate_pem=pem)
    assert await recorded(alice, pem) == ("authz.denied", error.message)


@pytest.mark.parametrize("forge", JOIN_TOKENS)
async def test_join_token(alice, forge):
    secret = await forge(alice)
    request = enrollment_pb2.RegisterAgentRequest(
        join_token=secret,
        node_name="web-9",
        version="1",
        tls_public_key_pem=TLS_PUBLIC_PEM.decode(),
        ssh_public_key=SSH_PUBLIC_LINE,
        agent_time_ms=alice.clock.now,
    )
    await refused_over_grpc(alice, "EnrollmentService/RegisterAgent", request)
    assert "the join token" in (await recorded(alice, secret))[1]


@pytest.mark.parametrize("forge", INVITES)
async def test_invite(alice, forge):
    token = await forge(alice)
    await refused_over_http(alice, "invites/accept", {"token": token, "password": OTHER_PASSWORD})
    assert (await recorded(alice, token))[0] == "user.login.failed"


@pytest.mark.parametrize("forge", PASSWORDS)
async def test_password(alice, forge):
    password = await forge(alice)
    request = auth_pb2.AuthenticateLocalRequest(username="alice", password=password)
    await refused_over_grpc(alice, "AuthService/AuthenticateLocal", request)
    assert (await recorded(alice, password))[0] == "user.login.failed"


@pytest.mark.parametrize("forge", PASSWORDS)
async def test_password_over_http(alice, forge):
    password = await forge(alice)
    await refused_over_http(alice, "login", {"username": "alice", "password": password})
    assert (await recorded(alice, password))[0] == "user.login.failed"
