# SPDX-License-Identifier: Apache-2.0
"""A hub and an agent reduced to the way of a request: no sessions, no decisions, no records."""

from __future__ import annotations

import contextlib
import cProfile
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection

import attrs
import trio
from cryptography.hazmat.primitives.asymmetric import ec

from bench.tunnel_vs_ssh import ALPN, PROCESSES, Pems, running
from mezite.agent.app_channels import AppChannels
from mezite.core.apps.app import App
from mezite.core.assertion.claims import AssertionClaims
from mezite.core.assertion.signer import AssertionSigner
from mezite.core.http1.client_fields import without_reserved
from mezite.core.mux.connection import Side
from mezite.core.mux.header import ChannelHeader
from mezite.handlers.app_http import AppProxy
from mezite.handlers.web_front import OF_APPLICATIONS
from mezite.net.asgi_types import Receive, Scope, Send
from mezite.net.byte_streams import PushbackStream
from mezite.net.dialer import dial
from mezite.net.heap import keep_large_blocks
from mezite.net.http1_server import serve_http1
from mezite.net.mux_session import MuxSession
from mezite.net.socket_options import tune_connection
from mezite.net.tls_contexts import mutual_client_context, mutual_server_context, server_context
from mezite.net.tls_stream import TlsStream
from mezite.services.apps.dialing import AppConnection
from mezite.services.apps.request_log import AppRequest
from mezite.services.sources import system_sources
from mezite.testing.certificates import ThrowAwayCa
from mezite.testing.self_signed import self_signed_pem

HOST = "wiki.apps.example"


@attrs.frozen
class User:
    """As much of one as the proxy asks for."""

    name: str = "ada"
    app_session: str = "session"


async def run_hub(pems: Pems, target: str, pipe: Connection) -> None:
    sources = system_sources()
    app = App(name="wiki", uri=f"http://{target}", public_addr=HOST, agent_hostnames=("node-1",))
    signer = AssertionSigner(ec.generate_private_key(ec.SECP256R1()))
    browsers, tunnels = [(await trio.open_tcp_listeners(0, host="127.0.0.1"))[0] for _ in range(2)]
    pipe.send([listener.socket.getsockname()[1] for listener in (browsers, tunnels)])
    transport = await tunnels.accept()
    tune_connection(transport)
    context = mutual_server_context(pems.certificate, pems.key, [pems.ca], ALPN)
    tunnel = TlsStream(transport, context, server_side=True)
    await tunnel.do_handshake()
    session = MuxSession(tunnel, Side.ACCEPTER)

    def fields(app: App, _user: object) -> list[tuple[bytes, bytes]]:
        claims = AssertionClaims(
            issuer="https://hub.example",
            audience=app.uri,
            subject="ada",
            roles=("access", "dev"),
            app=app.name,
            jti=sources.new_id(),
            issued_at=sources.now() // 1000,
        )
        token = signer.sign(claims).token.encode()
        return [
            (b"Mezite-Jwt-Assertion", token),
            (b"X-Mezite-User", b"ada"),
            (b"X-Mezite-Roles", b"access,dev"),
        ]

    async def record(_request: AppRequest) -> None:
        """The audit log has a bench of its own."""

    async def open_app(_app: App, **_told: str) -> AppConnection:
        channel = await session.open_channel(ChannelHeader(kind="app", target=target, deadline_ms=5000))
        return AppConnection(stream=channel, agent_id="id", agent="node-1")

    proxy = AppProxy(open=open_app, identity_fields=fields, record=record, sources=sources)  # type: ignore[arg-type]

    async def gate(scope: Scope, receive: Receive, send: Send) -> None:
        scope = {**scope, "headers": without_reserved(scope["headers"])}
        await proxy.forward(app, User(), scope, receive, send)  # type: ignore[arg-type]

    web = server_context(*self_signed_pem(HOST), ["http/1.1"])

    async def serve(client: trio.SocketStream) -> None:
        tune_connection(client)
        stream = TlsStream(client, web, server_side=True)
        with contextlib.suppress(trio.BrokenResourceError):
            await stream.do_handshake()
            await serve_http1(
                PushbackStream(stream),
                gate,
                scheme="https",
                client="203.0.113.9:5000",
                server="192.0.2.1:443",
                rules_of=lambda _host: OF_APPLICATIONS,
            )

    async with trio.open_nursery() as nursery:
        await nursery.start(session.run)
        await nursery.start(proxy.run)
        pipe.send("ready")
        await trio.serve_listeners(serve, [browsers])


async def run_agent(pems: Pems, tunnel_port: int) -> None:
    context = mutual_client_context([pems.ca], pems.certificate, pems.key, ALPN)
    stream = TlsStream(await dial(f"127.0.0.1:{tunnel_port}", 0), context, server_side=False)
    await stream.do_handshake()
    session, channels = MuxSession(stream, Side.DIALER), AppChannels()
    async with trio.open_nursery() as nursery:
        await nursery.start(session.run)
        while True:
            nursery.start_soon(serve_channel, channels, await session.accept_channel())


async def serve_channel(channels: AppChannels, pending) -> None:
    with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        await channels.serve(pending)


def hub_process(pems: Pems, target: str, pipe: Connection, profile: str | None) -> None:
    keep_large_blocks()
    if profile is None:
        trio.run(run_hub, pems, target, pipe)
        return
    profiler = cProfile.Profile()

    def stop(*_arguments: object) -> None:
        profiler.disable()
        profiler.dump_stats(profile)
        os._exit(0)

    signal.signal(signal.SIGTERM, stop)
    profiler.enable()
    trio.run(run_hub, pems, target, pipe)


def agent_process(pems: Pems, tunnel_port: int) -> None:
    keep_large_blocks()
    trio.run(run_agent, pems, tunnel_port)


@contextlib.contextmanager
def bare_processes(target: str, profile: str | None) -> Iterator[tuple[int, int, int]]:
    """The port for browsers, and the ids of the two processes."""
    ca = ThrowAwayCa(int(time.time()))
    authority = attrs.evolve(ca.hub(), certificate=ca.host_tls_ca).certificate_pem
    sides = [Pems(authority, side.certificate_pem, side.key_pem) for side in (ca.hub(), ca.agent())]
    here, there = PROCESSES.Pipe()
    with running(hub_process, sides[0], target, there, profile) as hub:
        there.close()
        web_port, tunnel_port = here.recv()
        with running(agent_process, sides[1], tunnel_port) as agent:
            here.recv()
            yield web_port, hub.pid, agent.pid
            if profile:
                hub.terminate()
                hub.join()
