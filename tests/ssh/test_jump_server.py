# SPDX-License-Identifier: Apache-2.0
"""Stock ssh through the hub's jump server to a node."""

import os
import time

import paramiko
import pytest
import trio

from mezite.ssh.jump_server import NodeUnreachable
from mezite.ssh.limits import SshLimits
from mezite.ssh.policy import ChannelKind
from mezite.ssh.wire import string, uint32
from tests.ssh.peers import ME, Server, client_config, run, running_hub, running_node
from tests.ssh.raw_client import certified_key, raw_jump_client

pytestmark = pytest.mark.e2e


class Nodes:
    """``open_node`` of a hub with one node."""

    def __init__(self, node: Server) -> None:
        self.node = node
        self.asked: list[tuple[str, str, int]] = []
        self.error: Exception | None = None

    async def __call__(self, grant, target, port):
        self.asked.append((grant.user, target, port))
        if self.error is not None:
            raise self.error
        if target != "node-1":
            raise NodeUnreachable(f"no such node or not connected: {target}")
        return await trio.open_tcp_stream("127.0.0.1", self.node.port)


def through(tmp_path, node: Server, hub: int, *, proxy: str = "jump") -> str:
    """A client's configuration in which nodes are behind the hub."""
    folder = tmp_path / "outside"
    folder.mkdir()
    command = f"ProxyCommand ssh -F {folder}/config-{hub} -W %h:22 hub"
    extra = f"""Host hub
  HostName 127.0.0.1
  Port {hub}
  HostKeyAlias hub
Host node* 192.* other
  HostKeyAlias node-1
  HostName %h
  Port 22
  {"ProxyJump hub" if proxy == "jump" else command}
"""
    return str(client_config(folder, node.authority, node.identity, hub, extra))


@pytest.mark.parametrize("proxy", ["jump", "command"])
async def test_command_on_a_node(tmp_path, spawner, proxy):
    async with running_node(tmp_path, spawner) as node:
        nodes = Nodes(node)
        async with running_hub(node.authority, nodes) as hub:
            config = through(tmp_path, node, hub, proxy=proxy)
            result = await run(["ssh", "-F", config, "node-1", "echo hello; exit 7"])
            assert (result.returncode, result.stdout) == (7, b"hello\n"), result.stderr
            assert nodes.asked == [("alice", "node-1", 22)]


async def test_bulk_both_ways_and_files(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node, running_hub(node.authority, Nodes(node)) as hub:
        config = through(tmp_path, node, hub)
        data = os.urandom(1_000_000) * 8
        result = await run(["ssh", "-F", config, "node-1", "cat"], data=data)
        assert result.stdout == data
        source = tmp_path / "source"
        source.write_bytes(data)
        result = await run(["scp", "-q", "-F", config, str(source), f"node-1:{tmp_path}/copy"])
        assert result.returncode == 0, result.stderr
        assert (tmp_path / "copy").read_bytes() == data


async def test_unknown_node_is_told(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node, running_hub(node.authority, Nodes(node)) as hub:
        config = through(tmp_path, node, hub, proxy="command")
        result = await run(["ssh", "-F", config, "node-9", "true"])
        assert result.returncode == 255
        assert b"no such node or not connected: node-9" in result.stderr


@pytest.mark.parametrize("error", [trio.TooSlowError(), RuntimeError("bug")])
async def test_way_that_fails(tmp_path, spawner, error):
    async with running_node(tmp_path, spawner) as node:
        nodes = Nodes(node)
        nodes.error = error
        async with running_hub(node.authority, nodes) as hub:
            config = through(tmp_path, node, hub, proxy="command")
            result = await run(["ssh", "-F", config, "node-1", "true"])
            assert result.returncode == 255
            assert b"node node-1" in result.stderr


async def test_sessions_are_explained(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node, running_hub(node.authority, Nodes(node)) as hub:
        config = through(tmp_path, node, hub)
        for options in ((), ("-tt",)):
            result = await run(["ssh", "-F", config, *options, "hub", "id"])
            assert result.returncode == 1
            assert b"it has no shell" in result.stdout + result.stderr


async def test_addresses_are_not_node_names(tmp_path, spawner):
    """Nothing is ever resolved: what is no name is refused before anybody is asked."""
    async with running_node(tmp_path, spawner) as node:
        nodes = Nodes(node)
        async with running_hub(node.authority, nodes) as hub:
            config = through(tmp_path, node, hub)
            result = await run(["ssh", "-F", config, "-W", "[fe80::1]:22", "hub"])
            assert b"that is not the name of a node" in result.stderr
            assert nodes.asked == []


async def test_no_ports_on_the_hub(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node, running_hub(node.authority, Nodes(node)) as hub:
        config = through(tmp_path, node, hub)
        remote = ("-R", "0:127.0.0.1:1", "-o", "ExitOnForwardFailure=yes", "-N")
        result = await run(["ssh", "-F", config, *remote, "hub"])
        assert result.returncode == 255


async def test_only_with_a_certificate(tmp_path, spawner):
    async with running_node(tmp_path, spawner) as node, running_hub(node.authority, Nodes(node)) as hub:
        (tmp_path / "id-cert.pub").unlink()
        config = through(tmp_path, node, hub)
        result = await run(["ssh", "-F", config, "-W", "node-1:22", "hub"])
        assert result.returncode == 255
        assert b"Permission denied (publickey)" in result.stderr
        assert ME.encode() in result.stderr


async def test_each_way_is_asked_about():
    """A12: by name and port; an expired certificate and a policy that fails are a no."""

    async def open_node(grant, target, port):
        raise AssertionError("nobody may come here")

    async with raw_jump_client(open_node) as client:
        client.policy.expires_at = time.time() + 3600
        await client.login()
        client.policy.denied = {ChannelKind.DIRECT_TCPIP}
        assert b"denied by policy" in await client.open_direct("node-1", 22)
        assert client.policy.asked == [(ChannelKind.DIRECT_TCPIP, "node-1:22")]
        client.policy.asked = None
        assert b"the policy failed" in await client.open_direct("node-1", 22)


async def test_nothing_new_after_the_certificate_expires():
    async with raw_jump_client(None) as client:
        client.policy.expires_at = 1.0
        await client.login()
        assert b"the certificate has expired" in await client.open_direct("node-1", 22)


async def test_nothing_but_ways_through():
    async with raw_jump_client(None) as client:
        await client.login()
        await client.send(b"\x5a", string("x11"), uint32(0), uint32(1), uint32(1))
        assert (await client.receive(92))[5:9] == uint32(3)
        assert await client.global_request("tcpip-forward", string(""), uint32(0)) == b"\x52"


async def test_refused_login_ends_like_a_wrong_key():
    async with raw_jump_client(None) as client:
        with pytest.raises(paramiko.AuthenticationException):
            await client.login(certified_key(client.authority, "daemon"))


async def test_no_room_for_a_way_that_is_open():
    streams = []

    async def open_node(grant, target, port):
        near, far = trio.testing.memory_stream_pair()
        streams.append(far)
        return near

    limits = SshLimits(channel_window_bytes=65536, connection_window_bytes=65536)
    async with raw_jump_client(open_node, limits=limits) as client:
        await client.login()
        assert (await client.open_direct("node-1", 22))[0] == 91
        assert (await client.open_direct("node-1", 22, number=1))[5:9] == uint32(4)
        assert await streams[1].receive_some() == b""
