# SPDX-License-Identifier: Apache-2.0
"""Credentials against the database as it is now (threats E6, F8)."""

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from mezite.core.certificates.keys import generate_ed25519, generate_p256
from mezite.core.secret import token_hash
from mezite.services.errors import LockedError, UnauthenticatedError
from mezite.services.identity.identities import AgentIdentity, CredentialKind
from mezite.services.login.password_login import SESSION_MS
from mezite.storage import agents, users
from mezite.testing.certificates import ThrowAwayCa
from tests.services.world import (
    CLUSTER,
    HOUR,
    PASSWORD,
    SSH_PUBLIC_LINE,
    START,
    TLS_PUBLIC_PEM,
    certificate_der,
)


async def refused(call, error=UnauthenticatedError):
    with pytest.raises(error) as caught:
        await call
    return str(caught.value)


async def disable(world, name="alice"):
    await world.database.write(users.set_disabled, name=name, disabled=True, now=START)


async def test_a_session(world):
    await world.user("alice", roles=("auditor",))
    identity = await world.authenticator.by_session(await world.token("alice"))
    assert (identity.name, identity.roles) == ("alice", ("auditor",))
    assert identity.credential is CredentialKind.SESSION


async def test_no_part_of_a_token_is_one(world):
    """Threat E11."""
    await world.user("alice")
    token = await world.token("alice")
    for wrong in (
        "",
        token[:-1],
        token[1:],
        token[:32],
        token + "0",
        token.upper(),
        token_hash(token),
        "ü",
        "\udc80",
        "\ud800",
        "a\0",
    ):
        assert "log in again" in await refused(world.authenticator.by_session(wrong))
    for length in range(len(token)):
        await refused(world.authenticator.by_session(token[:length]))


async def test_a_session_ends(world):
    await world.user("alice")
    token = await world.token("alice")
    world.clock.now += SESSION_MS - 1
    await world.authenticator.by_session(token)
    world.clock.now += 1
    await refused(world.authenticator.by_session(token))


async def test_disabled_and_deleted_users(world):
    """Threat E6: whatever credential they hold."""
    root = await world.user("root", roles=("admin",))
    alice = await world.user("alice")
    token, issued = await world.token("alice"), await world.issue(alice)
    await disable(world)
    for call in (
        world.authenticator.by_session(token),
        world.by_certificate(issued),
        world.by_ssh_certificate(issued),
    ):
        assert "alice is disabled" in await refused(call)
    await world.accounts.delete("alice", by=root, client_address="")
    for call in (
        world.authenticator.by_session(token),
        world.by_certificate(issued),
        world.by_ssh_certificate(issued),
    ):
        assert "log in again" in await refused(call)


async def test_certificates_have_the_roles_of_now(world):
    """Threat E6: roles in a certificate are for others to read."""
    issued = await world.issue(await world.user("alice", roles=("admin",)))
    await world.accounts.update("alice", roles=(), traits=None, by="root")
    assert (await world.by_certificate(issued)).roles == ()
    assert (await world.by_ssh_certificate(issued)).roles == ()


async def test_an_expired_certificate(world):
    issued = await world.issue(await world.user("alice"))
    world.clock.now += 12 * HOUR
    text = await refused(world.by_certificate(issued))
    assert "client certificate was refused" in text
    assert "expired" in text


async def test_an_agent(world):
    enrolled = await world.join("web-1")
    der = certificate_der(enrolled.certificates.tls_certificate_pem)
    identity = await world.authenticator.by_tls_certificate(der)
    assert isinstance(identity, AgentIdentity)
    assert (identity.agent_id, identity.node_name) == (enrolled.agent.agent_id, "web-1")
    assert (identity.generation, identity.expires_at) == (1, START + 24 * HOUR)


async def test_a_removed_agent(world):
    enrolled = await world.join("web-1")
    await world.database.write(agents.remove, agent_id=enrolled.agent.agent_id, now=START)
    assert "was removed" in await refused(world.agent_of(enrolled))


async def test_a_locked_agent(world):
    enrolled = await world.join("web-1")
    await world.database.write(agents.lock, agent_id=enrolled.agent.agent_id, reason="lost laptop", now=START)
    text = await refused(world.agent_of(enrolled), LockedError)
    assert "lost laptop" in text
    assert "join again" in text


async def test_an_agent_nobody_knows(world):
    """A genuine certificate from before the database was restored."""
    issued = world.authorities.issue_agent(
        tls_public_key_pem=TLS_PUBLIC_PEM,
        ssh_public_key=SSH_PUBLIC_LINE,
        agent_id="ghost",
        node_name="web-9",
        generation=1,
    )
    text = await refused(world.authenticator.by_tls_certificate(certificate_der(issued.tls_certificate_pem)))
    assert "ghost is not known" in text


async def test_a_hubs_certificate_is_good_for_nothing_here(world):
    issued = world.authorities.issue_hub(
        hub_id="hub-9",
        tls_key=generate_p256(),
        ssh_key=generate_ed25519(),
        names=("localhost",),
        addresses=(),
    )
    leaf = (
        issued.tls_certificate_pem.decode().split("-----END CERTIFICATE-----")[0]
        + "-----END CERTIFICATE-----\n"
    )
    assert "hub's certificate" in await refused(world.authenticator.by_tls_certificate(certificate_der(leaf)))


@pytest.mark.parametrize("kind", ["user", "agent", "hub"])
async def test_certificates_of_another_cluster(world, kind):
    """Threat A4: the same names from another CA, also of a cluster of the same name."""
    await world.user("alice")
    for cluster in (CLUSTER, "other"):
        stranger = getattr(ThrowAwayCa(START // 1000, cluster), kind)()
        der = stranger.certificate.public_bytes(Encoding.DER)
        assert "refused" in await refused(world.authenticator.by_tls_certificate(der))


@pytest.mark.parametrize("der", [b"", b"\x30\x00", b"x" * 100, b"\x30\x82\xff\xff" + bytes(70_000)])
async def test_damaged_certificates(world, der):
    assert "refused" in await refused(world.authenticator.by_tls_certificate(der))


async def test_a_user_made_again_is_somebody_else_only_by_password(world):
    """What a deleted user's session was cannot be used by the next one of that name."""
    root = await world.user("root", roles=("admin",))
    await world.user("alice")
    token = await world.token("alice")
    await world.accounts.delete("alice", by=root, client_address="")
    await world.accounts.create("alice", roles=("admin",), traits={}, password=PASSWORD, by="root")
    await refused(world.authenticator.by_session(token))


async def test_certificates_of_a_deleted_user_are_not_the_next_ones_of_that_name(world):
    """Threat E6: the name comes back with more rights, the old certificates must not."""
    root = await world.user("root", roles=("admin",))
    issued = await world.issue(await world.user("alice"))
    await world.accounts.delete("alice", by=root, client_address="")
    world.clock.now += HOUR
    await world.user("alice", roles=("admin",))
    assert "not known" in await refused(world.by_certificate(issued))
    assert "not known" in await refused(world.by_ssh_certificate(issued))


async def test_a_certificate_issued_by_a_hub_whose_clock_is_a_little_behind(world):
    alice = await world.user("alice")
    world.clock.now -= 5_000
    issued = await world.issue(alice)
    assert (await world.by_certificate(issued)).name == "alice"
    assert (await world.by_ssh_certificate(issued)).name == "alice"
