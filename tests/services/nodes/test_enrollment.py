# SPDX-License-Identifier: Apache-2.0
"""How a machine becomes a node, and how it stays one."""

import attrs
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mezite.core.join_token import parse_join_token
from mezite.core.secret import token_hash
from mezite.services.errors import (
    ClockSkewError,
    ConflictError,
    InvalidRequestError,
    LockedError,
    NotFoundError,
    UnauthenticatedError,
)
from mezite.services.nodes.enrollment import Enrollment, secret_part
from mezite.services.nodes.peer_clock import MAX_SKEW_MS, check_clock
from mezite.storage import agents, join_tokens
from tests.services.world import (
    CLIENT,
    HOUR,
    MINUTE,
    SSH_PUBLIC_LINE,
    START,
    TLS_PUBLIC_PEM,
    certificate_der,
)


async def create(world, **changes):
    wanted = {"roles": ("node",), "ttl_seconds": 3600, "labels": {}, "by": "root", "client_address": CLIENT}
    return await world.enrollment.create_token(**wanted | changes)


async def join(world, secret, **changes):
    return await world.enrollment.join(world.join_request(secret, **changes), client_address=CLIENT)


async def renew(world, agent, **changes):
    wanted = {
        "tls_public_key_pem": TLS_PUBLIC_PEM,
        "ssh_public_key": SSH_PUBLIC_LINE,
        "agent_time": world.clock.now,
        "client_address": CLIENT,
    }
    return await world.enrollment.renew(agent, **wanted | changes)


# ---- tokens


async def test_a_token_carries_the_pin_and_is_not_stored(world):
    created = await create(world, labels={"team": "x"})
    text = created.text.reveal()
    parsed = parse_join_token(text)
    assert parsed.ca_pin == world.authorities.host_pin
    assert created.row.token_hash == parsed.secret_hash() == token_hash(parsed.secret)
    assert created.row.expires_at == START + HOUR
    assert parsed.secret not in repr(created)
    (row,) = await world.enrollment.list_tokens()
    assert row == created.row
    (event,) = await world.events("token.created")
    assert (event["user_name"], event["resource_name"]) == ("root", row.token_hash[:16])
    assert parsed.secret not in str(event)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"roles": ()}, "for the role node, not for none"),
        ({"roles": ("admin",)}, "not for admin"),
        ({"roles": ("node", "admin")}, "not for node, admin"),
        ({"ttl_seconds": 0}, "time to live"),
        ({"ttl_seconds": -1}, "time to live"),
        ({"ttl_seconds": 7 * 86_400 + 1}, "at most 168h"),
        ({"labels": {"": "x"}}, "label"),
        ({"labels": {"a": "x,y"}}, "label"),
    ],
)
async def test_tokens_that_are_not_made(world, changes, message):
    with pytest.raises(InvalidRequestError, match=message):
        await create(world, **changes)
    assert await world.enrollment.list_tokens() == []
    assert await world.events() == []


async def test_a_token_of_a_week(world):
    assert (await create(world, ttl_seconds=7 * 86_400)).row.expires_at == START + 7 * 24 * HOUR


async def delete(world, identifier):
    await world.enrollment.delete_token(identifier, by="root", client_address=CLIENT)


async def test_a_deleted_token_is_not_known_any_more(world):
    created = await create(world)
    await delete(world, created.row.token_hash[:16])
    assert await world.enrollment.list_tokens() == []
    with pytest.raises(UnauthenticatedError, match="not known"):
        await join(world, secret_part(created.text.reveal()))
    (event,) = await world.events("token.deleted")
    assert (event["user_name"], event["resource_name"]) == ("root", created.row.token_hash[:16])


async def test_a_token_that_fixes_the_labels_of_a_node_stays(world):
    """Threat E18: without it the agent could call itself env=staging and be open to everyone who may go there."""
    created = await create(world, labels={"env": "prod"})
    enrolled = await join(world, secret_part(created.text.reveal()))
    with pytest.raises(InvalidRequestError, match="fixes the labels of node web-1"):
        await delete(world, created.row.token_hash[:16])
    await world.database.write(agents.remove, agent_id=enrolled.agent.agent_id, now=START)
    await delete(world, created.row.token_hash[:16])
    assert await world.enrollment.list_tokens() == []


async def test_a_used_token_without_labels_can_go(world):
    created = await create(world)
    await join(world, secret_part(created.text.reveal()))
    await delete(world, created.row.token_hash[:16])
    assert await world.enrollment.list_tokens() == []


async def test_deleting_what_is_not_there_or_not_clear(world):
    first = (await create(world)).row.token_hash
    with pytest.raises(NotFoundError, match="no join token"):
        await delete(world, "x")
    with pytest.raises(NotFoundError):
        await delete(world, "")
    while True:
        second = (await create(world)).row.token_hash
        if second[0] == first[0]:
            break
    with pytest.raises(InvalidRequestError, match="begin with"):
        await delete(world, first[0])


def test_the_secret_part_of_a_token():
    assert secret_part("mzt_abc.0123") == "abc"
    assert secret_part("abc") == "abc"
    assert secret_part("") == ""


# ---- joining


async def test_joining(world):
    enrolled = await join(world, await world.join_token(labels={"team": "x"}))
    agent = enrolled.agent
    assert (agent.node_name, agent.version, agent.labels) == ("web-1", "0.1", {"env": "prod", "team": "x"})
    assert enrolled.certificates.generation == 1
    assert enrolled.certificates.expires_at == START + 24 * HOUR
    peer = world.authorities.verify_client(
        certificate_der(enrolled.certificates.tls_certificate_pem), now=world.clock.now
    )
    assert (peer.name, peer.node_name, peer.generation) == (agent.agent_id, "web-1", 1)
    used, joined = (await world.events())[-2:]
    assert (used["event_type"], joined["event_type"]) == ("token.used", "node.joined")
    assert used["agent_id"] == joined["agent_id"] == agent.agent_id
    assert joined["resource_labels"] == {"env": "prod", "team": "x"}


async def test_the_token_decides_about_its_labels(world):
    """What the administrator fixed for the machine is not the machine's to say: roles select by labels."""
    secret = await world.join_token(labels={"env": "dev"})
    enrolled = await join(world, secret, labels={"env": "prod", "zone": "a"})
    assert enrolled.agent.labels == {"env": "dev", "zone": "a"}
    agent = await world.agent_of(enrolled)
    await world.enrollment.heartbeat(agent, labels={"env": "prod", "zone": "b"}, version="0.2" * 100)
    row = await world.database.read(agents.get, agent_id=agent.agent_id)
    assert (row.labels, row.version) == ({"env": "dev", "zone": "b"}, ("0.2" * 100)[:64])


async def test_a_token_is_used_once(world):
    """Threat E10."""
    secret = await world.join_token()
    await join(world, secret)
    with pytest.raises(
        UnauthenticatedError, match="used already: make a new one with `mezctl tokens create"
    ) as refused:
        await join(world, secret, node_name="web-2")
    (event,) = await world.events("access.denied")
    assert event["id"] == refused.value.event_id
    assert (event["resource_type"], event["resource_name"]) == ("token", "web-2")
    assert await world.database.read(agents.get_by_name, node_name="web-2") is None


async def test_of_many_who_join_with_one_token_one_wins(world):
    """Threat E10."""
    secret, winners = await world.join_token(), []

    async def attempt(number):
        try:
            winners.append(await join(world, secret, node_name=f"n-{number}"))
        except UnauthenticatedError:
            return

    async with trio.open_nursery() as nursery:
        for number in range(30):
            nursery.start_soon(attempt, number)
    assert len(winners) == 1
    assert [row.node_name for row in await world.database.read(agents.list_all)] == [
        winners[0].agent.node_name
    ]


async def test_a_stranger_gets_no_signature(world):
    """Threat A11: what a made-up token costs is a look; a bad key beside it is not even looked at."""
    with pytest.raises(UnauthenticatedError, match="not known"):
        await join(world, "0" * 64, tls_public_key_pem=b"no key")


async def test_an_expired_token(world):
    secret = await world.join_token(ttl_seconds=60)
    world.clock.now += MINUTE
    with pytest.raises(UnauthenticatedError, match="expired"):
        await join(world, secret)


async def test_no_part_of_a_token_is_one(world):
    """Threat E11."""
    secret = await world.join_token()
    for wrong in ("", secret[:-1], secret[1:], f"mzt_{secret}", secret + "A", token_hash(secret), "a\0", "ü"):
        with pytest.raises(UnauthenticatedError, match="not known"):
            await join(world, wrong)
    assert (await join(world, secret)).agent.node_name == "web-1"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"node_name": "Web-1"}, InvalidRequestError),
        ({"node_name": ""}, InvalidRequestError),
        ({"node_name": "*"}, InvalidRequestError),
        ({"labels": {"a b": "c"}}, InvalidRequestError),
        ({"labels": {f"k{number}": "v" for number in range(65)}}, InvalidRequestError),
        ({"tls_public_key_pem": b"nonsense"}, InvalidRequestError),
        ({"tls_public_key_pem": b""}, InvalidRequestError),
        ({"ssh_public_key": "nonsense"}, InvalidRequestError),
        ({"ssh_public_key": ""}, InvalidRequestError),
        ({"ssh_public_key": "ssh-ed25519 AAAA"}, InvalidRequestError),
        ({"agent_time": START - MAX_SKEW_MS - 1}, ClockSkewError),
        ({"agent_time": 0}, ClockSkewError),
        ({"agent_time": -(2**63)}, ClockSkewError),
        ({"agent_time": 2**63 - 1}, ClockSkewError),
    ],
)
async def test_what_is_wrong_elsewhere_does_not_cost_the_token(world, changes, error):
    secret = await world.join_token()
    with pytest.raises(error):
        await join(world, secret, **changes)
    assert (await join(world, secret)).agent.node_name == "web-1"


async def test_a_node_cannot_be_called_like_the_hub(world):
    """Threat A13: hosts and hubs share a CA."""
    own = Enrollment(
        database=world.database,
        authorities=world.authorities,
        audit=world.audit,
        sources=world.sources,
        hub_names=["hub.example.com"],
    )
    token = await create(world)
    request = world.join_request(token.text.reveal(), node_name="hub.example.com")
    with pytest.raises(ConflictError, match="is the hub's own"):
        await own.join(request, client_address=CLIENT)


async def test_a_name_that_is_taken_gives_the_token_back(world):
    """Threat B1: a name belongs to who joined with it first."""
    first = await world.join("web-1")
    secret = await world.join_token()
    with pytest.raises(ConflictError, match=f"belongs to agent {first.agent.agent_id} already"):
        await join(world, secret)
    assert (await join(world, secret, node_name="web-2")).agent.node_name == "web-2"
    await world.database.write(agents.remove, agent_id=first.agent.agent_id, now=START)
    assert (await join(world, await world.join_token())).agent.agent_id != first.agent.agent_id


@pytest.mark.parametrize(
    ("off", "message"),
    [
        (10 * MINUTE, "10m ahead of the hub's"),
        (-10 * MINUTE, "10m behind the hub's"),
        (2 * HOUR + 30 * MINUTE, "2h30m ahead of"),
    ],
)
def test_a_clock_that_is_off_is_told_by_how_much(off, message):
    """Threat F6."""
    with pytest.raises(ClockSkewError, match=message):
        check_clock(START + off, START)


@pytest.mark.parametrize("off", [0, MAX_SKEW_MS, -MAX_SKEW_MS])
def test_a_clock_that_is_near_enough(off):
    check_clock(START + off, START)


# ---- renewing


async def test_a_renewal_counts_the_generation_up(world):
    agent = await world.agent()
    world.clock.now += 8 * HOUR
    renewed = await renew(world, agent)
    assert renewed.certificates.generation == 2
    assert renewed.certificates.expires_at == world.clock.now + 24 * HOUR
    again = await world.agent_of(renewed)
    assert (again.agent_id, again.node_name, again.generation) == (agent.agent_id, agent.node_name, 2)


async def test_lost_answers_are_asked_for_again(world):
    """The network, or the agent's full disk, can lose any number of answers in a row."""
    agent = await world.agent()
    for generation in (2, 3, 4, 5):
        renewed = await renew(world, agent)
        assert renewed.certificates.generation == generation
    last = await world.agent_of(renewed)
    assert (await renew(world, last)).certificates.generation == 6


async def test_a_copied_identity_is_found_and_locked(world):
    """The copy renews and is used; the original comes with what it had."""
    original = await world.join("web-1")
    agent = await world.agent_of(original)
    copy = await world.agent_of(await renew(world, agent))
    await renew(world, copy)
    with pytest.raises(LockedError, match="in use in two places") as locked:
        await renew(world, agent)
    (event,) = await world.events("lock.created")
    assert event["id"] == locked.value.event_id
    assert (event["resource_type"], event["resource_name"]) == ("agent", agent.agent_id)
    assert event["server_hostname"] == "web-1"
    assert "copied" in event["reason"]
    with pytest.raises(LockedError):
        await world.agent_of(original)


async def test_a_generation_that_was_never_issued(world):
    enrolled = await world.join("web-1")
    issued = world.authorities.issue_agent(
        tls_public_key_pem=TLS_PUBLIC_PEM,
        ssh_public_key=SSH_PUBLIC_LINE,
        agent_id=enrolled.agent.agent_id,
        node_name="web-1",
        generation=7,
    )
    agent = await world.agent_of(attrs.evolve(enrolled, certificates=issued))
    with pytest.raises(LockedError):
        await renew(world, agent)


async def test_a_removed_agent_is_not_renewed(world):
    agent = await world.agent()
    await world.database.write(agents.remove, agent_id=agent.agent_id, now=START)
    with pytest.raises(UnauthenticatedError, match="removed: join again"):
        await renew(world, agent)
    assert await world.events("lock.created") == []


async def test_a_renewal_with_a_wrong_clock_or_key_changes_nothing_for_good(world):
    agent = await world.agent()
    with pytest.raises(ClockSkewError):
        await renew(world, agent, agent_time=START - HOUR)
    with pytest.raises(InvalidRequestError):
        await renew(world, agent, tls_public_key_pem=b"nonsense")
    assert (await world.agent_of(await renew(world, agent))).generation > 1


async def test_a_key_that_is_too_small(world):
    """Threat A9."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=1024).public_key()
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with pytest.raises(InvalidRequestError):
        await join(world, await world.join_token(), tls_public_key_pem=pem)


async def test_a_certificate_that_was_left_behind_does_not_speak_for_the_agent(world):
    """Threat B1: a copy that never connects must not move the node to other labels."""
    original = await world.join("web-1")
    copy = await world.agent_of(original)
    agent = await world.agent_of(await renew(world, copy))
    await world.enrollment.heartbeat(
        copy, labels={"env": "prod"}, version="1"
    )  # nobody has shown the newer yet
    await world.leases.check_generation(agent, CLIENT)
    with pytest.raises(UnauthenticatedError, match="a newer one"):
        await world.enrollment.heartbeat(copy, labels={"env": "staging"}, version="1")
    await world.enrollment.heartbeat(agent, labels={"env": "dev"}, version="1")
    row = await world.database.read(agents.get, agent_id=agent.agent_id)
    assert (row.labels["env"], row.locked_at) == ("dev", None)


async def test_a_heartbeat_of_bad_labels(world):
    agent = await world.agent()
    with pytest.raises(InvalidRequestError):
        await world.enrollment.heartbeat(agent, labels={"a b": "c"}, version="1")


async def test_used_tokens_know_their_agent(world):
    secret = await world.join_token()
    enrolled = await join(world, secret)
    row = await world.database.read(join_tokens.get, token_hash=token_hash(secret))
    assert (row.used_by, row.used_at) == (enrolled.agent.agent_id, START)
