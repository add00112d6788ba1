# SPDX-License-Identifier: Apache-2.0
"""Identities come from verified credentials and from nowhere else (threat A2)."""

import copy
import pickle

import attrs
import pytest

from mezite.services.identity.identities import (
    AgentIdentity,
    CredentialKind,
    UserIdentity,
    agent_of_peer,
    user_of_peer,
    user_of_session,
    user_of_ssh_certificate,
)
from mezite.storage import agents, users, web_sessions
from tests.services.world import HOUR, START, certificate_der

USER = {
    "name": "alice",
    "roles": ("admin",),
    "traits": {},
    "credential": CredentialKind.SESSION,
    "expires_at": START,
}
AGENT = {"agent_id": "a", "node_name": "n", "generation": 1, "expires_at": START}


@pytest.mark.parametrize(("cls", "fields"), [(UserIdentity, USER), (AgentIdentity, AGENT)])
def test_an_identity_cannot_be_made_by_hand(cls, fields):
    """Threat A2."""
    with pytest.raises(TypeError, match="verified credential"):
        cls(**fields)


async def test_an_identity_cannot_be_changed_or_copied(world):
    """Threat A2: nobody turns an identity into another one."""
    for identity in (await world.user(), await world.agent()):
        with pytest.raises(TypeError):
            attrs.evolve(identity, expires_at=START * 2)
        with pytest.raises(TypeError):
            copy.copy(identity)
        with pytest.raises(TypeError):
            pickle.dumps(identity)
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            identity.expires_at = START * 2


async def verified_peer(world, issued_pem):
    return world.authorities.verify_client(certificate_der(issued_pem), now=world.clock.now)


async def test_a_session_is_its_users(world):
    alice, bob = await world.user("alice"), await world.user("bob")
    session = await world.database.read(web_sessions.get, token_hash=alice.session_hash)
    row = await world.database.read(users.get, name="alice")
    assert user_of_session(session, row) == alice
    assert alice.credential is CredentialKind.SESSION
    assert alice.logins is None
    assert alice.expires_at == START + 12 * HOUR
    with pytest.raises(ValueError, match="another user"):
        user_of_session(session, await world.database.read(users.get, name=bob.name))


async def test_certificates_are_their_users(world):
    alice = await world.user("alice")
    await world.user("bob")
    bob_row = await world.database.read(users.get, name="bob")
    issued = await world.issue(alice)
    peer = await verified_peer(world, issued.certificates.tls_certificate_pem)
    with pytest.raises(ValueError, match="not this user's"):
        user_of_peer(peer, bob_row)
    verified = world.verified_ssh(issued)
    with pytest.raises(ValueError, match="not this user's"):
        user_of_ssh_certificate(verified, bob_row)
    by_tls, by_ssh = await world.by_certificate(issued), await world.by_ssh_certificate(issued)
    assert by_tls.credential is CredentialKind.TLS_CERTIFICATE
    assert by_tls.logins is None
    assert by_ssh.credential is CredentialKind.SSH_CERTIFICATE
    assert by_ssh.logins == ("ubuntu",)
    assert by_tls.expires_at == by_ssh.expires_at == START + 12 * HOUR
    assert by_tls.session_hash == by_ssh.session_hash == ""


async def test_an_agents_certificate_is_its_own(world):
    one, two = await world.join("web-1"), await world.join("web-2")
    peer = await verified_peer(world, one.certificates.tls_certificate_pem)
    assert agent_of_peer(peer, one.agent).agent_id == one.agent.agent_id
    with pytest.raises(ValueError, match="not this agent's"):
        agent_of_peer(peer, two.agent)


async def test_a_user_is_no_agent_and_an_agent_no_user(world):
    issued = await world.issue(await world.user("alice"))
    enrolled = await world.join("web-1")
    user_peer = await verified_peer(world, issued.certificates.tls_certificate_pem)
    agent_peer = await verified_peer(world, enrolled.certificates.tls_certificate_pem)
    row = await world.database.read(agents.get, agent_id=enrolled.agent.agent_id)
    with pytest.raises(ValueError, match="not this agent's"):
        agent_of_peer(user_peer, attrs.evolve(row, agent_id="alice"))
    user = await world.database.read(users.get, name="alice")
    with pytest.raises(ValueError, match="not this user's"):
        user_of_peer(agent_peer, attrs.evolve(user, name=row.agent_id))
