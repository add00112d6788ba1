# SPDX-License-Identifier: Apache-2.0
"""Stock OpenSSH at the hub's SSH port: who gets through to which node (threats A2, A12)."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio
from trio.testing import memory_stream_pair

from mezite.cli.hub_client.profile_store import Profile
from mezite.core.certificates.ssh import parse_authorized_key_line
from mezite.handlers.user_ssh import _HeldStream, _JumpPolicy
from mezite.ssh.policy import ChannelKind, Refusal, SshGrant
from mezite.storage import users
from tests.handlers.peers import FakeAgent, online_agent
from tests.hub.live_hub import LiveHub, live_hub


def blob(profile: Profile) -> bytes:
    return parse_authorized_key_line(profile.ssh_certificate.decode().strip())[1]


# --- the policy ----------------------------------------------------------------------------------------------


async def test_the_policy_lets_a_user_in_as_himself(tmp_path: Path) -> None:
    async with live_hub(tmp_path / "one") as hub, live_hub(tmp_path / "two", fresh=True) as other:
        policy = _JumpPolicy(hub.hub.ground.authorities, hub.sources, "127.0.0.1")
        _current, profile = hub.profile("alice", ("access",), ("ubuntu",))
        granted = policy.authenticate("alice", blob(profile))
        assert isinstance(granted, SshGrant)
        assert granted.user == granted.login == "alice"
        assert policy.verified[granted.certificate_id].principals == ("ubuntu",)

        wrong = policy.authenticate("bob", blob(profile))
        assert isinstance(wrong, Refusal)
        assert wrong.explain
        assert wrong.message == ("you are alice here: connect as alice@HUB and name the login at the node")
        _current, stranger = other.profile("alice", ("access",), ("ubuntu",))
        foreign = policy.authenticate("alice", blob(stranger))
        assert isinstance(foreign, Refusal)
        assert not foreign.explain, "who is not ours hears nothing"
        _current, old = hub.profile("alice", ("access",), ("ubuntu",), ttl_seconds=-10)
        assert isinstance(policy.authenticate("alice", blob(old)), Refusal)

        assert policy.authorize_channel(granted, ChannelKind.DIRECT_TCPIP, "web-1:22") is None
        for kind in set(ChannelKind) - {ChannelKind.DIRECT_TCPIP}:
            assert policy.authorize_channel(granted, kind, "x") == Refusal(
                message="a hub only passes connections on to nodes", explain=True
            )


async def test_a_held_stream_is_the_stream_underneath() -> None:
    ours, theirs = memory_stream_pair()
    held = _HeldStream(ours)
    await held.wait_send_all_might_not_block()
    await held.send_all(b"x")
    assert await theirs.receive_some() == b"x"
    await theirs.send_all(b"y")
    assert await held.receive_some() == b"y"
    await held.send_eof()
    assert await theirs.receive_some() == b""
    assert not held.closed.is_set()
    await held.aclose()
    assert held.closed.is_set()


# --- stock ssh -----------------------------------------------------------------------------------------------


@attrs.define
class Client:
    """Stock ssh with a user's files."""

    folder: Path
    hub: LiveHub

    def write(self, profile: Profile) -> None:
        self.folder.mkdir(mode=0o700, exist_ok=True)
        key = self.folder / "id"
        key.write_bytes(profile.ssh_key)
        key.chmod(0o600)
        (self.folder / "id-cert.pub").write_bytes(profile.ssh_certificate)
        (self.folder / "known_hosts").write_bytes(profile.known_hosts)

    async def __call__(
        self, user: str, *arguments: str, data: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        assert shutil.which("ssh"), "install the OpenSSH client"
        options = {
            "IdentityFile": self.folder / "id",
            "CertificateFile": self.folder / "id-cert.pub",
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "UserKnownHostsFile": self.folder / "known_hosts",
            "GlobalKnownHostsFile": "none",
            "StrictHostKeyChecking": "yes",
            "BatchMode": "yes",
        }
        host, _, port = self.hub.address("ssh").rpartition(":")
        command = ["ssh", "-F", "none", "-p", port, "-l", user]
        for name, value in options.items():
            command += ["-o", f"{name}={value}"]
        with trio.fail_after(20):
            return await trio.run_process(
                [*command, *arguments, host],
                stdin=data,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
            )


@asynccontextmanager
async def cluster(folder: Path) -> AsyncIterator[tuple[LiveHub, FakeAgent, Client]]:
    async with live_hub(folder / "hub") as hub:
        client = Client(folder / "client", hub)
        _current, profile = await hub.user()
        client.write(profile)
        async with online_agent(hub, await hub.enroll()) as agent:
            yield hub, agent, client


@pytest.mark.e2e
async def test_bytes_reach_the_node_as_they_are(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (_hub, agent, ssh):
        result = await ssh("alice", "-W", "web-1:22", data=b"hello")
        assert result.stdout == b"hello<end>", result.stderr
        header = agent.headers[0]
        assert (header.user, header.attributes["logins"]) == ("alice", "ubuntu")


@pytest.mark.e2e
async def test_a_node_that_is_not_there(tmp_path: Path) -> None:
    async with cluster(tmp_path) as (hub, agent, ssh):
        unknown = await ssh("alice", "-W", "nosuch:22")
        assert b"node nosuch: not found, or you have no login there" in unknown.stderr
        await hub.enroll("web-2")
        offline = await ssh("alice", "-W", "web-2:22")
        assert b"node web-2 is offline since" in offline.stderr
        await hub.hub.ground.database.write(users.delete, name="alice")
        deleted = await ssh("alice", "-W", "web-1:22")
        assert b"user alice is not known here: log in again" in deleted.stderr
        assert [result.returncode for result in (unknown, offline, deleted)] == [255, 255, 255]
        assert agent.headers == []
        (denial,) = [json.loads(line) for line in await hub.audited("access.denied")]
        assert denial["resource_name"] == "nosuch"


@pytest.mark.e2e
async def test_who_is_not_let_in(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with cluster(tmp_path) as (_hub, agent, ssh):
        session = await ssh("alice")
        assert session.returncode == 1
        assert b"This is a mezite hub: it has no shell" in session.stderr
        wrong_name = await ssh("bob", "-W", "web-1:22")
        assert wrong_name.returncode == 255
        assert b"you are alice here: connect as alice@HUB" in wrong_name.stderr
        async with live_hub(tmp_path / "other", fresh=True) as other:
            _current, foreign = other.profile("alice", ("access",), ("ubuntu",))
        _current, own = _hub.profile("alice", ("access",), ("ubuntu",))
        ssh.write(attrs.evolve(foreign, known_hosts=own.known_hosts))
        stranger = await ssh("alice", "-W", "web-1:22")
        assert stranger.returncode == 255
        assert b"Permission denied" in stranger.stderr
        assert agent.headers == []
        with trio.fail_after(10):
            while len(refusals := await _hub.audited("authz.denied")) < 2:
                await trio.testing.wait_all_tasks_blocked(0.01)
        messages = {json.loads(line)["error_message"].partition(":")[0] for line in refusals}
        assert messages == {
            "you are alice here",
            "the certificate is not signed by a certificate authority that is trusted for this",
        }
