# SPDX-License-Identifier: Apache-2.0
"""For how long, for which logins, and never more than there was (threat E9)."""

import json

import pytest
import trio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mezite.core.certificates.ssh import NO_LOGIN_PRINCIPAL
from mezite.services.access.authorization import AccessContext, Resource, authorize
from mezite.services.errors import InvalidRequestError, UnauthenticatedError
from tests.services.world import (
    CLIENT,
    HOUR,
    MINUTE,
    SSH_PUBLIC_LINE,
    TLS_PUBLIC_PEM,
    certificate_der,
    copy_template,
    open_world,
)

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


def pinning_role(name="pinned"):
    allow = {"node_labels": {"*": "*"}, "logins": ["ubuntu"]}
    spec = {"options": {"pin_source_ip": True}, "allow": allow}
    return json.dumps({"kind": "role", "version": "v1", "metadata": {"name": name}, "spec": spec})


async def pinned_user(world):
    await world.roles.put(pinning_role(), by="root", client_address=CLIENT)
    return await world.user("alice", roles=("pinned",))


def issue_from(world, identity, client_address):
    return world.certificates.issue(
        identity,
        ssh_public_key=SSH_PUBLIC_LINE,
        tls_public_key_pem=TLS_PUBLIC_PEM,
        ttl_seconds=0,
        client_address=client_address,
    )


async def by_certificate(world, issued, client_address):
    der = certificate_der(issued.certificates.tls_certificate_pem)
    return await world.authenticator.by_tls_certificate(der, client_address)


async def test_certificates_that_are_pinned(world):
    issued = await world.issue(await pinned_user(world))
    identity = await by_certificate(world, issued, CLIENT)
    assert identity.pinned_to == world.verified_ssh(issued).source_address == "192.0.2.7"
    (event,) = await world.events("user.cert.issued")
    assert event["source_address"] == "192.0.2.7"
    for elsewhere in ("192.0.2.8:50000", "[2001:db8::7]:50000", "unknown:0", "nonsense", ""):
        with pytest.raises(UnauthenticatedError, match=r"good from 192\.0\.2\.7 only"):
            await by_certificate(world, issued, elsewhere)
    assert (await by_certificate(world, issued, "[::ffff:192.0.2.7]:1")).name == "alice"


async def test_a_pin_is_kept_through_every_reissue_e9(world):
    """Threat E9: Teleport 10.3.11 lost it. Not even when the role does not ask for it any more."""
    identity = await by_certificate(world, await world.issue(await pinned_user(world)), CLIENT)
    await world.accounts.update("alice", roles=("access",), traits=None, by="root")
    for elsewhere in (CLIENT, "198.51.100.1:1"):
        again = await issue_from(world, identity, elsewhere)
        assert (await by_certificate(world, again, CLIENT)).pinned_to == "192.0.2.7"
        assert again.certificates.expires_at <= identity.expires_at


async def test_a_session_is_pinned_to_the_address_of_its_login(world):
    """A stolen session gets certificates that are good for its owner alone."""
    alice = await pinned_user(world)
    issued = await issue_from(world, alice, "198.51.100.1:1")
    assert (await by_certificate(world, issued, CLIENT)).pinned_to == "192.0.2.7"


async def test_a_certificate_from_before_is_pinned_at_its_reissue(world):
    await world.roles.put(pinning_role(), by="root", client_address=CLIENT)
    issued = await world.issue(await world.user("alice"))
    await world.accounts.update("alice", roles=("pinned",), traits=None, by="root")
    identity = await by_certificate(world, issued, "198.51.100.1:1")
    node = Resource(kind="node", name="web-1", labels={})
    for login in ("ubuntu", None):
        context = AccessContext(client_address="198.51.100.1:1", decision_id="d", login=login)
        decision = authorize(identity, "nodes.connect", node, context)
        assert not decision.allowed
        assert "pinned to your address: log in again" in decision.reason
    again = await issue_from(world, identity, "198.51.100.1:1")
    pinned = await by_certificate(world, again, "198.51.100.1:1")
    assert pinned.pinned_to == "198.51.100.1"
    assert authorize(pinned, "nodes.connect", node, context).allowed
    with pytest.raises(UnauthenticatedError, match="which is not known"):
        await issue_from(world, identity, "unknown:0")


async def test_without_the_option_nothing_is_pinned(world):
    issued = await world.issue(await world.user("alice"))
    assert (await by_certificate(world, issued, "")).pinned_to == ""
    assert world.verified_ssh(issued).source_address is None
