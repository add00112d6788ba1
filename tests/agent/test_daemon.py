# SPDX-License-Identifier: Apache-2.0
"""An agent's life: preparing its identity, renewing it, telling the hub (threats F3, B5)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from mezite.agent.assembly import Agent
from mezite.agent.daemon import (
    HEARTBEAT_SECONDS,
    RETRY_SECONDS,
    _beat,
    _renew,
    prepare_identity,
    run_agent,
)
from mezite.agent.hub_api import HubApi
from mezite.agent.identity_store import IdentityStore, StoredIdentity
from mezite.agent.joining import JoinError, make_keys
from mezite.api.client import RpcError, StatusCode
from mezite.api.pb.mezite.v1 import enrollment_pb2 as pb
from mezite.config.schema import AgentConfig
from mezite.core.certificates.ssh import authorized_key_line
from mezite.core.certificates.trust_bundle import key_id_of_certificate, key_id_of_line
from mezite.core.certificates.x509_issue import certificate_pem
from mezite.core.secret import Secret
from mezite.ssh.spawn import open_spawner
from mezite.testing.certificates import DAY, ThrowAwayCa
from tests.agent.fake_api import FakeClient
from tests.hub.live_hub import LiveHub, live_hub

NOW = 1_800_000_000
CA = ThrowAwayCa(NOW)
CERTIFICATE = CA.agent().certificate_pem.decode()
LINE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFhyYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFi"


def identity(**changes: object) -> StoredIdentity:
    """Valid from five minutes before NOW for a day."""
    made = StoredIdentity(
        agent_id="agent-1",
        cluster_name="test",
        node_name="web-1",
        host_ca_pin="ab" * 32,
        tls_certificate_pem=CERTIFICATE,
        ssh_host_certificate="ssh-ed25519-cert-v01@openssh.com AAAA",
        host_tls_ca_pem=("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",),
        user_ssh_ca=(LINE,),
    )
    return attrs.evolve(made, **changes)


def config(folder: Path, **changes: object) -> AgentConfig:
    made = AgentConfig(
        proxy_addr="127.0.0.1:1", auth_addr="127.0.0.1:1", data_dir=str(folder), labels={"env": "prod"}
    )
    return attrs.evolve(made, **changes)


async def prepare(folder: Path, now: int = NOW, **changes: object) -> StoredIdentity:
    return await prepare_identity(
        IdentityStore(folder), config(folder, **changes), node_name="web-1", now=lambda: now * 1000
    )


# --- becoming someone ----------------------------------------------------------------------------------------


async def test_a_stored_identity_needs_no_hub(tmp_path: Path) -> None:
    IdentityStore(tmp_path).save(identity())
    assert await prepare(tmp_path) == identity()


async def test_an_identity_that_has_expired(tmp_path: Path) -> None:
    IdentityStore(tmp_path).save(identity())
    with pytest.raises(JoinError) as expired:
        await prepare(tmp_path, now=NOW + DAY + 3599)
    assert expired.value.what == f"the identity in {tmp_path}/agent expired 1h ago"
    assert expired.value.hint == f"delete {tmp_path}/agent and start with a new join token"


async def test_neither_identity_nor_token(tmp_path: Path) -> None:
    with pytest.raises(JoinError, match="there is no join token; set MEZITE_JOIN_TOKEN"):
        await prepare(tmp_path)


async def test_a_token_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(JoinError, match="the join token cannot be used"):
        await prepare(tmp_path, join_token=Secret("mzt_nonsense"))


async def test_a_pin_that_is_none(tmp_path: Path) -> None:
    token = Secret(f"mzt_{'A' * 43}.{'0' * 64}")
    with pytest.raises(JoinError, match="the join token cannot be used"):
        await prepare(tmp_path, join_token=token, ca_pin="sha256:12")


async def test_a_token_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(JoinError, match=f"cannot read {tmp_path}/none.*check join_token_file"):
        await prepare(tmp_path, join_token_file=str(tmp_path / "none"))
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    with pytest.raises(JoinError, match=f"cannot read {tmp_path}/binary"):
        await prepare(tmp_path, join_token_file=str(tmp_path / "binary"))


async def test_joining_keeps_the_keys_of_a_first_try_that_failed(tmp_path: Path) -> None:
    async with live_hub(tmp_path / "hub") as hub:
        folder = tmp_path / "agent"
        store = IdentityStore(folder)
        keys = make_keys()
        store.save_keys(keys)
        token = tmp_path / "token"
        token.write_text(f"{await hub.join_token()}\n")
        made = hub.agent_config(folder, join_token_file=str(token), ca_pin=hub.pin)
        joined = await prepare_identity(store, made, node_name="web-1", now=hub.sources.now)
        assert store.load() == joined
        assert store.load_keys() == keys


# --- a whole life --------------------------------------------------------------------------------------------


async def test_an_agent_joins_and_is_online(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with live_hub(tmp_path / "hub") as hub, trio.open_nursery() as nursery:
        token = Secret(await hub.join_token())
        made = hub.agent_config(tmp_path / "agent", join_token=token)
        with caplog.at_level(logging.INFO, "mezite.agent"):
            nursery.start_soon(start_agent, made, hub)
            tunnel = await wait_tunnel(hub)
        assert tunnel.node_name == "web-1"
        nursery.cancel_scope.cancel()
    messages = [record.message for record in caplog.records if record.name == "mezite.agent"]
    assert messages[:2] == ["joined the cluster", "agent starting"]


async def start_agent(made: AgentConfig, hub: LiveHub) -> None:
    await run_agent(made, node_name="web-1", now=hub.sources.now)


async def wait_tunnel(hub: LiveHub):
    with trio.fail_after(20):
        return await hub.hub.services.registry.wait_tunnel()


async def test_keys_that_are_gone_while_the_identity_is_there(tmp_path: Path) -> None:
    IdentityStore(tmp_path).save(identity())
    with pytest.raises(JoinError, match="its private keys are missing") as missing:
        await run_agent(config(tmp_path), node_name="web-1", now=lambda: NOW * 1000)
    assert "start with a new join token" in missing.value.hint


# --- renewing and telling, on a clock that jumps -------------------------------------------------------------


@attrs.define(eq=False)
class Life:
    """An agent whose wall clock runs with Trio's."""

    folder: Path
    client: FakeClient
    agent: Agent

    @property
    def store(self) -> IdentityStore:
        return IdentityStore(self.folder)


async def life(folder: Path, client: FakeClient, **changes: object) -> Life:
    begin = trio.current_time()
    async with open_spawner() as spawner:
        agent = Agent(
            config=config(folder),
            keys=make_keys(),
            identity=identity(**changes),
            spawner=spawner,
            now=lambda: NOW * 1000 + int((trio.current_time() - begin) * 1000),
            api=HubApi(),
            login=None,
        )
    agent.api.attach(client)
    return Life(folder, client, agent)


def renewal_at(second: int, generation: int) -> pb.AgentIdentity:
    certificate = ThrowAwayCa(NOW + second).agent(generation=generation).certificate_pem.decode()
    return pb.AgentIdentity(
        agent_id="agent-1",
        cluster_name="test",
        node_name="web-1",
        generation=generation,
        tls_certificate_pem=certificate,
        ssh_host_certificate="ssh-ed25519-cert-v01@openssh.com BBBB",
        host_tls_ca_pem=identity().host_tls_ca_pem,
        user_ssh_ca=[LINE],
    )


THIRD = (DAY + 300) // 3 - 300
"""Seconds after NOW: a third of a life that began five minutes before."""


async def test_renewal_at_a_third_of_the_life(tmp_path: Path, autojump_clock: MockClock) -> None:
    client = FakeClient(lambda _name, _request: renewal_at(THIRD, 2))
    running = await life(tmp_path, client)
    begin = trio.current_time()
    with trio.move_on_after(THIRD + 60):
        await _renew(running.agent, running.store)
    assert client.names == ["RenewAgentIdentity"]
    assert client.times[0] - begin == pytest.approx(THIRD, abs=1)
    request = client.calls[0][1]
    assert request.tls_public_key_pem.startswith("-----BEGIN PUBLIC KEY-----")
    assert dict(request.labels) == {"env": "prod"}
    assert running.agent.identity.ssh_host_certificate.endswith("BBBB")
    assert running.agent.identity.host_ca_pin == "ab" * 32, (
        "the pin is what was pinned, not what the hub says"
    )
    assert running.store.load() == running.agent.identity


async def test_a_machine_that_slept_renews_soon_after(tmp_path: Path, autojump_clock: MockClock) -> None:
    """Threat P28: timers stand still while a machine is suspended, certificates run out all the same."""
    client = FakeClient(lambda _name, _request: renewal_at(THIRD + 10 * 3600, 2))
    running = await life(tmp_path, client)
    awake, slept = running.agent.now, 0
    running.agent.now = lambda: awake() + slept
    begin = trio.current_time()
    with trio.move_on_after(3600):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_renew, running.agent, running.store)
            await trio.sleep(100)
            slept = 10 * 3600 * 1000
    assert client.names == ["RenewAgentIdentity"]
    assert client.times[0] - begin <= 600


async def test_a_renewal_that_fails_is_tried_again(
    tmp_path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    answers = iter([RpcError(StatusCode.UNAVAILABLE, "the database is away"), renewal_at(THIRD, 2)])

    def answer(_name: str, _request: object) -> pb.AgentIdentity:
        given = next(answers)
        if isinstance(given, Exception):
            raise given
        return given

    client = FakeClient(answer)
    running = await life(tmp_path, client)
    with trio.move_on_after(THIRD + 3 * RETRY_SECONDS):
        await _renew(running.agent, running.store)
    assert client.times[1] - client.times[0] == pytest.approx(RETRY_SECONDS, abs=1)
    (record,) = [record for record in caplog.records if record.message.startswith("renewal failed")]
    assert record.reason == "the database is away"


async def test_a_certificate_that_is_late_is_renewed_at_once(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    client = FakeClient(lambda _name, _request: renewal_at(0, 2))
    old = ThrowAwayCa(NOW - DAY // 2).agent().certificate_pem.decode()
    running = await life(tmp_path, client, tls_certificate_pem=old)
    begin = trio.current_time()
    with trio.move_on_after(60):
        await _renew(running.agent, running.store)
    assert client.times == [begin]


HUB_CA = certificate_pem(CA.host_tls_ca).decode()
OTHER_CA = certificate_pem(ThrowAwayCa(NOW).host_tls_ca).decode()


def told(*hub_cas: str) -> pb.AgentHeartbeatResponse:
    return pb.AgentHeartbeatResponse(host_tls_ca_pem=hub_cas, user_ssh_ca=[LINE] if hub_cas else [])


@attrs.define
class Hub:
    """Answers heartbeats, and keeps what was acknowledged in them."""

    answers: list[pb.AgentHeartbeatResponse | RpcError]
    acknowledged: list[tuple[str, ...]] = attrs.field(factory=list)

    def answer(self, _name: str, request: pb.AgentHeartbeatRequest) -> pb.AgentHeartbeatResponse:
        self.acknowledged.append(tuple(request.trusted_key_ids))
        given = self.answers.pop(0)
        if isinstance(given, Exception):
            raise given
        return given


def ids(*hub_cas: str) -> tuple[str, ...]:
    return tuple(sorted([key_id_of_line(LINE), *map(key_id_of_certificate, hub_cas)]))


async def test_heartbeats_take_over_cas(
    tmp_path: Path, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """Stored, used, and only then acknowledged, at once (threat F5); what is no CA changes nothing."""
    away = RpcError(StatusCode.UNAVAILABLE, "away")
    hub = Hub([told(HUB_CA, OTHER_CA), told(), away, told("nonsense"), told(OTHER_CA), told()])
    client = FakeClient(hub.answer)
    running = await life(tmp_path, client)
    running.agent.identity = attrs.evolve(running.agent.identity, host_tls_ca_pem=(HUB_CA,))
    running.store.save(running.agent.identity)
    with caplog.at_level(logging.INFO, "mezite.agent"), trio.move_on_after(3.5 * HEARTBEAT_SECONDS):
        await _beat(running.agent, running.store)
    waits = [round(b - a) for a, b in zip(client.times, client.times[1:], strict=False)]
    assert waits == [0, HEARTBEAT_SECONDS, HEARTBEAT_SECONDS, HEARTBEAT_SECONDS, 0]
    both = ids(HUB_CA, OTHER_CA)
    assert hub.acknowledged == [ids(HUB_CA), both, both, both, both, ids(OTHER_CA)]
    assert running.agent.identity.host_tls_ca_pem == (OTHER_CA,)
    stored = running.store.load()
    assert stored is not None
    assert stored.host_tls_ca_pem == (OTHER_CA,)
    messages = [record.message for record in caplog.records]
    assert messages.count("the cluster's CAs have changed") == 2
    assert messages.count("cannot take over the cluster's CAs") == 1
    assert HEARTBEAT_SECONDS < 60, "after a minute without calls a hub ends the API connection"


async def test_news_does_not_wait_for_the_next_heartbeat(tmp_path: Path, autojump_clock: MockClock) -> None:
    client = FakeClient(Hub([told()] * 9).answer)
    running = await life(tmp_path, client)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_beat, running.agent, running.store)
        await trio.sleep(5)
        running.agent.news.hear()
        await trio.sleep(1)
        nursery.cancel_scope.cancel()
    assert [round(time - client.times[0]) for time in client.times] == [0, 5]


async def test_a_certificate_whose_signer_is_replaced_is_renewed_at_once(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """Threat F5: by the time the former key is dropped, nobody who was online depends on it."""
    hub = Hub([pb.AgentHeartbeatResponse(signing_key_ids=["0" * 64]), told(), told()])

    def answer(name: str, request: Any) -> Any:
        return hub.answer(name, request) if name == "AgentHeartbeat" else renewal_at(THIRD, 2)

    client = FakeClient(answer)
    running = await life(tmp_path, client)
    line = authorized_key_line(CA.host_certificate(CA.host_ssh.public_key(), "web-1"))
    running.agent.identity = attrs.evolve(
        running.agent.identity, host_tls_ca_pem=(HUB_CA,), ssh_host_certificate=line
    )
    with trio.move_on_after(1.5 * HEARTBEAT_SECONDS):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_renew, running.agent, running.store)
            nursery.start_soon(_beat, running.agent, running.store)
    assert client.names == ["AgentHeartbeat", "RenewAgentIdentity", "AgentHeartbeat"]
    assert client.times[1] == client.times[0]


async def test_hubs_that_disagree_do_not_make_it_run_in_circles(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    client = FakeClient(Hub([told(HUB_CA), told(OTHER_CA)] * 9).answer)
    running = await life(tmp_path, client)
    with trio.move_on_after(1.5 * HEARTBEAT_SECONDS):
        await _beat(running.agent, running.store)
    assert len(client.names) == 4
