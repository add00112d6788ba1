# SPDX-License-Identifier: Apache-2.0
"""Fifty clients that use a hub as it is meant to be used, and how long each use took."""

from __future__ import annotations

import itertools
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager

import attrs
import trio

from mezite.api.client import ClientOptions, open_api_client
from mezite.api.dialing import GRPC_ALPN
from mezite.api.pb.mezite.v1 import nodes_pb2
from mezite.cli.hub_client.profile_store import Profile, ProfileStore
from mezite.core.mux.connection import ChannelHeader, Side
from mezite.net.mux_session import MuxSession
from mezite.net.tls_contexts import client_context, mutual_client_context
from mezite.net.tls_stream import TlsStream
from tests.e2e.harness import ME, Cluster

PATIENCE_SECONDS = 10
"""A use that takes longer has failed."""
PAUSE_SECONDS = 1.5
HONEST_NET, OFFICES = "127.1", 10
"""Where they come from: ten offices of five."""
PING = b"GET /v1/webapi/ping HTTP/1.1\r\nHost: localhost\r\n\r\n"

Use = Callable[[], Awaitable[None]]


@attrs.frozen
class Sample:
    """One use of the hub."""

    kind: str
    at: float
    seconds: float
    error: str | None


@attrs.define(eq=False)
class HonestClients:
    """Twenty browsers, and ten each of API clients, SSH clients and `msh` sessions."""

    cluster: Cluster
    node: str
    samples: list[Sample] = attrs.field(factory=list)
    _streams: list[TlsStream] = attrs.field(factory=list, init=False)
    _numbers: Iterator[int] = attrs.field(factory=itertools.count, init=False)

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator[None]:
        """All of them, each on its own connection, for the length of the block."""
        clients = {
            "web": (self._web, 20),
            "grpc": (self._grpc, 10),
            "ssh": (self._ssh, 10),
            "tunnel": (self._tunnel, 10),
        }
        async with trio.open_nursery() as nursery:
            for kind, (client, count) in clients.items():
                for _ in range(count):
                    await nursery.start(self._work, kind, client)
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()
        for stream in self._streams:
            await trio.aclose_forcefully(stream)

    async def _work(
        self,
        kind: str,
        client: Callable[[Callable[[Use], Awaitable[None]]], Awaitable[None]],
        *,
        task_status: trio.TaskStatus[None],
    ) -> None:
        async def repeat(use: Use) -> None:
            await self._timed("set-up", use)
            task_status.started()
            while True:
                await trio.sleep(PAUSE_SECONDS * random.uniform(0.5, 1.5))
                await self._timed(kind, use)

        await client(repeat)

    async def _timed(self, kind: str, use: Use) -> None:
        began, error = trio.current_time(), None
        try:
            with trio.fail_after(PATIENCE_SECONDS):
                await use()
        except Exception as failure:  # noqa: BLE001 - counted, with its text
            error = repr(failure)
        self.samples.append(Sample(kind, began, trio.current_time() - began, error))

    async def _dial(self, listener: str) -> trio.SocketStream:
        host, _, port = self.cluster.addresses[listener].rpartition(":")
        source = f"{HONEST_NET}.0.{1 + next(self._numbers) % OFFICES}"
        return await trio.open_tcp_stream(host, int(port), local_address=source)

    async def _secure(self, listener: str, context: ssl.SSLContext) -> TlsStream:
        name = "localhost" if context.check_hostname else None
        stream = TlsStream(await self._dial(listener), context, server_side=False, server_hostname=name)
        self._streams.append(stream)
        await stream.do_handshake()
        return stream

    def _profile(self) -> Profile:
        store = ProfileStore.from_environment(self.cluster.msh_environment())
        return store.load(store.current())

    async def _web(self, repeat: Callable[[Use], Awaitable[None]]) -> None:
        context = client_context([self._profile().ca_pem], ["http/1.1"])
        stream = await self._secure("web", context)

        async def ping() -> None:
            await stream.send_all(PING)
            answer = bytearray()
            while not answer.endswith(b"}\n") and not answer.endswith(b"}"):
                data = await stream.receive_some()
                if not data:
                    raise ConnectionError("the hub closed the connection")
                answer += data
            if not answer.startswith(b"HTTP/1.1 200"):
                raise ValueError(bytes(answer))

        await repeat(ping)

    async def _grpc(self, repeat: Callable[[Use], Awaitable[None]]) -> None:
        context = client_context([self._profile().ca_pem], GRPC_ALPN)
        stream = await self._secure("auth", context)
        async with open_api_client(
            stream, ClientOptions(authority="localhost", token=self.cluster.token)
        ) as client:

            async def list_nodes() -> None:
                request = nodes_pb2.ListNodesRequest()
                answer = await client.unary(
                    "/mezite.v1.NodeService/ListNodes", request, nodes_pb2.ListNodesResponse
                )
                if not answer.nodes:
                    raise ValueError("no node")

            await repeat(list_nodes)

    async def _ssh(self, repeat: Callable[[Use], Awaitable[None]]) -> None:
        async def read_banner() -> None:
            async with await self._dial("ssh") as stream:
                await stream.send_all(b"SSH-2.0-honest\r\n")
                data = await stream.receive_some()
                if not data.startswith(b"SSH-2.0-"):
                    raise ValueError(bytes(data))

        await repeat(read_banner)

    async def _tunnel(self, repeat: Callable[[Use], Awaitable[None]]) -> None:
        profile = self._profile()
        context = mutual_client_context(
            [profile.ca_pem], profile.tls_certificate, profile.tls_key, ["mezite-connect/1"]
        )
        stream = await self._secure("ssh", context)
        session = MuxSession(stream, Side.DIALER)
        async with trio.open_nursery() as nursery:
            await nursery.start(session.run)

            async def reach_node() -> None:
                header = ChannelHeader(kind="ssh", target=self.node, attributes={"login": ME})
                async with await session.open_channel(header, deadline_seconds=PATIENCE_SECONDS) as channel:
                    if not (await channel.receive_some()).startswith(b"SSH-2.0-"):
                        raise ValueError("no banner of the node")

            await repeat(reach_node)
