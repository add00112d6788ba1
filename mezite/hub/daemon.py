# SPDX-License-Identifier: Apache-2.0
"""A hub's life: services outlive connections, connections outlive listeners.

    services ⊃ connections ⊃ listeners

Shutting down goes from the inside out: stop accepting; tell agents and API clients to go elsewhere and let what is
under way finish, up to a deadline; cut the rest; write the last audit event; close the database.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import attrs
import trio

from mezite.config.kinds import ListenAddress
from mezite.config.schema import HubConfig
from mezite.core.audit.event_types import EventType
from mezite.handlers.ports import GrpcPort, SshPort, TunnelPort, WebPort
from mezite.hub.assembly import Hub, open_hub
from mezite.hub.hub_identity import renew_certificates
from mezite.net.accept_loop import Handler, serve_connections
from mezite.net.addresses import join_host_port
from mezite.net.connection_limits import ConnectionLimiter, ConnectionLimits, raise_descriptor_limit
from mezite.net.heap import keep_large_blocks
from mezite.services.sources import Sources, system_sources

__all__ = ["ListenError", "RunningHub", "run_hub"]

_log = logging.getLogger("mezite.hub")

DRAIN_SECONDS = 10
"""What running calls and sessions get to finish after SIGTERM; systemd's default patience is 90 s."""

DIAGNOSTIC_CONNECTIONS = 64
"""A few who watch, each with a few connections."""

BACKLOG = 1024
"""Connections that wait to be accepted: a reconnect herd after a restart arrives within a second (threat B6)."""

_KEYS = {
    "web": "proxy.listen_addr",
    "ssh": "proxy.ssh_listen_addr",
    "tunnel": "proxy.tunnel_listen_addr",
    "auth": "auth.listen_addr",
    "diag": "diag.listen_addr",
}


class ListenError(Exception):
    """A port cannot be bound: `what`, `why`, and a `hint` what to do."""

    def __init__(self, name: str, listen: ListenAddress, error: OSError) -> None:
        self.what = f"cannot listen for {name} on {join_host_port(listen.host, listen.port)}"
        self.why = error.strerror or str(error)
        self.hint = f"stop what uses the port, or choose another with {_KEYS[name]}"
        super().__init__(f"{self.what}: {self.why}; {self.hint}")


@attrs.frozen(kw_only=True)
class RunningHub:
    """A hub whose listeners are bound."""

    hub: Hub
    addresses: dict[str, str]
    """`host:port` by listener: web, ssh, tunnel, auth, diag."""


async def run_hub(
    config: HubConfig,
    *,
    stop: trio.Event,
    sources: Sources | None = None,
    task_status: trio.TaskStatus[RunningHub] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a hub until `stop` is set, then drain. Cancelling ends it at once.

    :raises ListenError: a port cannot be bound.
    """
    raise_descriptor_limit()
    keep_large_blocks()
    async with open_hub(config, sources or system_sources()) as hub, trio.open_nursery() as services:
        await services.start(hub.ground.audit.run)
        await hub.services.connections.end_leftovers()
        services.start_soon(hub.services.leases.run)
        services.start_soon(renew_certificates, hub.tls, hub.ground.sources)
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as listeners:
                addresses = await _listen(config, hub, listeners, connections)
                hub.services.addresses.bound(addresses)
                await hub.ground.audit.emit(
                    EventType.HUB_STARTED, resource_type="hub", resource_name=hub.ground.hub_id
                )
                _log.info("hub ready", extra={"hub_id": hub.ground.hub_id, **addresses})
                task_status.started(RunningHub(hub=hub, addresses=addresses))
                await stop.wait()
                listeners.cancel_scope.cancel()
            _drain(hub, connections)
        await hub.ground.audit.emit(
            EventType.HUB_STOPPED, resource_type="hub", resource_name=hub.ground.hub_id
        )
        services.cancel_scope.cancel()


def _drain(hub: Hub, connections: trio.Nursery) -> None:
    _log.info(
        "draining", extra={"tunnels": hub.services.registry.statistics().tunnels, "seconds": DRAIN_SECONDS}
    )
    connections.cancel_scope.deadline = trio.current_time() + DRAIN_SECONDS
    hub.api.drain()
    hub.web.drain.start()
    hub.diagnostics.drain.start()
    hub.services.registry.draining.set()


async def _listen(
    config: HubConfig, hub: Hub, listeners: trio.Nursery, connections: trio.Nursery
) -> dict[str, str]:
    limiters = connection_limiters(config)
    wanted = _ports(config, hub)
    addresses = {}
    opened: list[tuple[str, Handler, Sequence[trio.SocketListener]]] = []
    try:
        for name, (listen, handler) in wanted.items():
            sockets = await _open(name, listen)
            opened.append((name, handler, sockets))
            addresses[name] = _bound_address(listen, sockets[0])
    except BaseException:
        for _name, _handler, bound in opened:
            for listener in bound:
                listener.socket.close()
        raise
    for name, handler, bound in opened:
        await listeners.start(_serve, bound, handler, name, limiters[name], connections)
    return addresses


def connection_limiters(config: HubConfig) -> dict[str, ConnectionLimiter]:
    """Return what counts the connections of each listener (threats A11, T8).

    Anybody may hold a connection to the web and gRPC ports, for as long as requests come: these have a third of all, so
    that they cannot take the places of tunnels and of users' SSH. Health is asked for even when all is taken: else who
    watches would restart a hub that is merely busy.
    """
    total, per_ip = config.proxy.max_connections, config.proxy.max_connections_per_ip

    def limiter(share: int) -> ConnectionLimiter:
        return ConnectionLimiter(ConnectionLimits(max_connections=share, max_connections_per_ip=per_ip))

    anybody = limiter(max(1, total // 3))
    proven = limiter(max(1, total - total // 3))
    return {
        "web": anybody,
        "auth": anybody,
        "tunnel": proven,
        "ssh": proven,
        "diag": limiter(DIAGNOSTIC_CONNECTIONS),
    }


async def _serve(
    sockets: Sequence[trio.abc.Listener[Any]],
    handler: Handler,
    name: str,
    limiter: ConnectionLimiter,
    connections: trio.Nursery,
    *,
    task_status: trio.TaskStatus[None],
) -> None:
    await serve_connections(
        sockets, handler, name=name, limiter=limiter, handler_nursery=connections, task_status=task_status
    )


def _ports(config: HubConfig, hub: Hub) -> dict[str, tuple[ListenAddress, Handler]]:
    ports: dict[str, tuple[ListenAddress, Handler]] = {}
    if config.proxy.enabled:
        context = None if config.proxy.tls_mode == "off" else hub.tls.web
        ports["web"] = (config.proxy.listen_addr, WebPort(context=context, front=hub.web).handle)
        ports["ssh"] = (
            config.proxy.ssh_listen_addr,
            SshPort(context=hub.tls.connect, tunnels=hub.user_tunnels, jump=hub.jump).handle,
        )
        ports["tunnel"] = (
            config.proxy.tunnel_listen_addr,
            TunnelPort(context=hub.tls.tunnel, tunnels=hub.agent_tunnels).handle,
        )
    if config.auth.enabled:
        allow_cleartext = config.auth.grpc_allow_http or config.auth.h2c
        ports["auth"] = (
            config.auth.listen_addr,
            GrpcPort(context=hub.tls.grpc, serve_api=hub.serve_api, allow_cleartext=allow_cleartext).handle,
        )
    ports["diag"] = (config.diag.listen_addr, WebPort(context=None, front=hub.diagnostics).handle)
    return ports


async def _open(name: str, listen: ListenAddress) -> Sequence[trio.SocketListener]:
    try:
        return await trio.open_tcp_listeners(listen.port, host=listen.host or None, backlog=BACKLOG)
    except OSError as error:
        raise ListenError(name, listen, error) from error


def _bound_address(listen: ListenAddress, listener: trio.SocketListener) -> str:
    port = listener.socket.getsockname()[1]
    host = f"[{listen.host}]" if ":" in listen.host else listen.host
    return f"{host}:{port}"
