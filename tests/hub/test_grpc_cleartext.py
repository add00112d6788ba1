# SPDX-License-Identifier: Apache-2.0
"""F3: without TLS a call needs its credential as it does with it, whether HTTP/2 came by prior knowledge or by
upgrade. What is asked over TLS, with and without a client's certificate, is in test_matrix."""

import pytest
import trio

from mezite.api.client import ClientOptions, open_api_client
from mezite.api.rpc import StatusCode
from tests.hub.matrix import open_cluster
from tests.hub.test_matrix import RPCS, denials, expected_rpc, is_denial_audited
from tests.hub.upgraded_call import UpgradedCall

PEOPLE = ("nobody", "user without roles", "disabled user", "admin", "agent")
"""One of each kind; the shades between them do not depend on the transport. An agent has nothing to show here."""


async def by_prior_knowledge(cluster, person):
    """The answer of each method, one connection for all."""
    methods = cluster.hub.api.methods
    async with (
        cluster.api_port() as stream,
        open_api_client(stream, ClientOptions(authority="hub", scheme="http")) as client,
    ):
        return {
            door: await cluster.call(client, person, methods[door], message, "session")
            for door, (_, message, _) in RPCS.items()
        }


async def by_upgrade(cluster, person):
    """The same, each call the one that asks for the upgrade."""
    found = {}
    for door, (_, message, _) in RPCS.items():
        token = await cluster.session(person.user) if person.user else ""
        async with cluster.api_port() as stream:
            found[door] = await UpgradedCall(stream).first(door, message.SerializeToString(), token)
    return found


TRANSPORTS = {"prior knowledge": by_prior_knowledge, "upgrade": by_upgrade}


async def walk(folder):
    async with open_cluster(folder) as cluster:
        found = {}
        for transport, visit in TRANSPORTS.items():
            before = await cluster.position()
            answers = {who: await visit(cluster, cluster.people[who]) for who in PEOPLE}
            found[transport] = answers, denials((await cluster.events())[before:])
        return set(cluster.hub.api.methods), found


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    return trio.run(walk, tmp_path_factory.mktemp("cleartext"))


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_credential_decides_and_not_the_transport(walked, transport):
    methods, found = walked
    answers, _ = found[transport]
    assert methods == set(RPCS) == set(answers["nobody"])
    for door in RPCS:
        got = {who: answers[who][door] for who in PEOPLE}
        assert got == {who: expected_rpc(door, who, "session") for who in PEOPLE}, door


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_denials_are_audited_whatever_the_transport(walked, transport):
    _, audited = walked[1][transport]
    expected = sum(is_denial_audited(door, who, "session") for door in RPCS for who in PEOPLE)
    assert len(audited) == expected > 0
    assert {event.client_ip for event in audited} == {"192.0.2.7"}


async def test_a_credential_is_good_for_its_own_call_only(tmp_path):
    """What came with the request of HTTP/1.1 is not lent to the calls behind it."""
    door = "/mezite.v1.UserService/ListUsers"
    async with open_cluster(tmp_path) as cluster, cluster.api_port() as stream:
        token = await cluster.session("admin")
        caller = UpgradedCall(stream)
        assert await caller.first(door, b"", token) is StatusCode.OK
        assert await caller.next(door, b"") is StatusCode.UNAUTHENTICATED
        assert await caller.next(door, b"", token) is StatusCode.OK
        assert await caller.next(door, b"", token + "x") is StatusCode.UNAUTHENTICATED
