# SPDX-License-Identifier: Apache-2.0
"""For how long, for which logins, and never more than there was (threat E9)."""

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mezite.core.certificates.ssh import NO_LOGIN_PRINCIPAL
from mezite.services.authorization import AccessContext, Resource, authorize
from mezite.services.errors import InvalidRequestError, UnauthenticatedError
from tests.services.world import CLIENT, HOUR, MINUTE, SSH_PUBLIC_LINE, copy_template, open_world

DAY_S = 24 * 3600


def lifetime(world, issued):
    return (issued.certificates.expires_at - world.clock.now) // 1000


@pytest.mark.parametrize(
    ("asked", "given"), [(0, 12 * 3600), (60, 60), (3600, 3600), (12 * 3600, 12 * 3600), (DAY_S, 12 * 3600)]
)
async def test_how_long(world, asked, given):
    """Twelve hours when nothing is said, and no longer than the role says."""
    issued = await world.issue(await world.user("alice"), asked)
    assert lifetime(world, issued) == given


async def test_a_user_without_roles_may_ask_for_a_day(world):
    alice = await world.user("alice", roles=())
    assert lifetime(world, await world.issue(alice, DAY_S)) == DAY_S
    assert lifetime(world, await world.issue(alice)) == 12 * 3600


@pytest.mark.parametrize("asked", [-1, 1, 59, DAY_S + 1, 2**62])
async def test_how_long_not(world, asked):
    with pytest.raises(InvalidRequestError, match="at least 1m and at most 24h"):
        await world.issue(await world.user("alice"), asked)
    assert await world.events("user.cert.issued") == []


async def test_a_session_is_a_fresh_login(world):
    """It sets no bound, however little of it is left: else everyone would be cut off in the evening."""
    alice = await world.user("alice")
    world.clock.now += 12 * HOUR - 1000
    assert lifetime(world, await world.issue(alice)) == 12 * 3600


async def test_a_certificate_is_never_outlived(world):
    """Threat E9: by no number of reissues."""
    first = await world.issue(await world.user("alice"), 3600)
    identity = await world.by_certificate(first)
    world.clock.now += 30 * MINUTE
    for asked in (0, 3600, 12 * 3600):
        again = await world.issue(identity, asked)
        assert again.certificates.expires_at == first.certificates.expires_at
        assert (await world.by_certificate(again)).expires_at == identity.expires_at
    assert lifetime(world, await world.issue(identity, 60)) == 60


@pytest.mark.parametrize("left", [59_999, 1000, 0, -1000])
async def test_a_certificate_that_is_about_to_expire_is_not_reissued(world, left):
    """Threat E9: the shortest certificate would outlive it."""
    first = await world.issue(await world.user("alice"), 3600)
    identity = await world.by_certificate(first)
    world.clock.now = first.certificates.expires_at - left
    with pytest.raises(UnauthenticatedError, match="about to expire"):
        await world.issue(identity)


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    asked=st.lists(st.integers(60, DAY_S), min_size=2, max_size=4),
    waits=st.lists(st.integers(0, 3600), min_size=4),
)
def test_reissued_is_never_more(world_template, tmp_path_factory, asked, waits):
    """Threat E9: a chain of reissues, each a subset of the one before."""

    async def play():
        async with open_world(copy_template(world_template, tmp_path_factory.mktemp("chain"))) as world:
            issued = await world.issue(await world.user("alice"), asked[0])
            for ttl, wait in zip(asked[1:], waits, strict=False):
                old, identity = issued, await world.by_certificate(issued)
                world.clock.now += wait * 1000
                try:
                    issued = await world.issue(identity, ttl)
                except UnauthenticatedError:
                    return
                assert issued.certificates.expires_at <= old.certificates.expires_at
                assert set(issued.logins) <= set(old.logins)
                assert set(issued.roles) <= set(old.roles)

    trio.run(play)


async def test_principals_are_the_logins_of_all_roles(world):
    issued = await world.issue(await world.user("alice", logins=("ubuntu", "deploy")))
    assert issued.logins == ("deploy", "ubuntu")
    verified = world.verified_ssh(issued)
    assert verified.principals == ("deploy", "ubuntu")
    assert verified.roles == issued.roles == ("access",)
    assert verified.extensions == {"permit-pty", "permit-port-forwarding", "permit-agent-forwarding"}


@pytest.mark.parametrize(
    ("roles", "logins"), [((), ("ubuntu",)), (("auditor",), ("ubuntu",)), (("access",), ())]
)
async def test_a_user_without_logins_gets_a_principal_that_opens_nothing(world, roles, logins):
    """Threat A4: an empty list of principals would mean anyone to some readers."""
    alice = await world.user("alice", roles=roles, logins=logins)
    issued = await world.issue(alice)
    assert issued.logins == ()
    verified = world.verified_ssh(issued)
    assert verified.principals == (NO_LOGIN_PRINCIPAL,)
    context = AccessContext(client_address=CLIENT, decision_id="d", login=NO_LOGIN_PRINCIPAL)
    node = Resource(kind="node", name="web-1", labels={})
    identity = await world.by_ssh_certificate(issued)
    assert not authorize(identity, "nodes.connect", node, context).allowed


async def test_a_user_without_roles_gets_no_forwarding(world):
    issued = await world.issue(await world.user("alice", roles=()))
    assert world.verified_ssh(issued).extensions == {"permit-pty"}


async def test_what_is_issued_is_audited(world):
    issued = await world.issue(await world.user("alice"), 3600)
    (event,) = await world.events("user.cert.issued")
    assert event["serial"] == str(issued.certificates.serial)
    assert (event["user_name"], event["client_ip"]) == ("alice", "192.0.2.7")
    assert (event["logins"], event["ttl_seconds"]) == (["ubuntu"], 3600)


@pytest.mark.parametrize("key", [b"", b"nonsense"])
async def test_keys_that_are_none(world, key):
    with pytest.raises(InvalidRequestError, match="key"):
        await world.certificates.issue(
            await world.user("alice"),
            ssh_public_key=SSH_PUBLIC_LINE,
            tls_public_key_pem=key,
            ttl_seconds=0,
            client_address=CLIENT,
        )
