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
from mezite.core.errors import ExplainedError
from mezite.hub.apps_certificate import warn_of_unreachable_apps
from mezite.hub.assembly import Hub, open_hub
from mezite.hub.hub_identity import renew_certificates, show_configured_keypair
from mezite.hub.ports import Port, make_ports
from mezite.hub.trust_keeper import keep_trust
from mezite.net.accept_loop import serve_connections
from mezite.net.addresses import join_host_port
from mezite.net.connection_limits import raise_descriptor_limit
from mezite.net.heap import keep_large_blocks
from mezite.services.apps.request_log import AppRequestLog
from mezite.services.sources import Sources, system_sources
from mezite.storage.password_hasher import PasswordHasher

__all__ = ["ListenError", "RunningHub", "run_hub", "write_last_requests"]

_log = logging.getLogger("mezite.hub")

DRAIN_SECONDS = 10
"""What running calls and sessions get to finish after SIGTERM; systemd's default patience is 90 s."""

FLUSH_SECONDS = 10
"""What the database gets to take the last records of requests; a thousand of them are two transactions."""

BACKLOG = 1024
"""Connections that wait to be accepted: a reconnect herd after a restart arrives within a second (threat B6)."""

_KEYS = {
    "web": "proxy.listen_addr",
    "ssh": "proxy.ssh_listen_addr",
    "tunnel": "proxy.tunnel_listen_addr",
    "auth": "auth.listen_addr",
    "diag": "diag.listen_addr",
}


class ListenError(ExplainedError):
    """A port cannot be bound: `what`, `why`, and a `hint` what to do."""

    def __init__(self, name: str, listen: ListenAddress, error: OSError) -> None:
        super().__init__(
            f"cannot listen for {name} on {join_host_port(listen.host, listen.port)}",
            error.strerror or str(error),
            f"stop what uses the port, or choose another with {_KEYS[name]}",
        )


@attrs.frozen(kw_only=True)
class RunningHub:
    """A hub whose listeners are bound."""

    hub: Hub
    addresses: dict[str, str]
    """`host:port` by listener: web, ssh, tunnel, auth, diag."""

    def reload_certificates(self, config: HubConfig) -> None:
        """Issue this hub's own certificates anew and read those of `proxy.keypair`; no connection is touched.

        :raises KeypairError: the files cannot be used; what was shown before stays.
        :raises OSError: the hub's own certificates cannot be shown.
        """
        self.hub.tls.renew()
        show_configured_keypair(self.hub.tls, config, self.hub.ground.sources.now())


async def run_hub(
    config: HubConfig,
    *,
    stop: trio.Event,
    sources: Sources | None = None,
    passwords: PasswordHasher | None = None,
    task_status: trio.TaskStatus[RunningHub] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run a hub until `stop` is set, then drain. Cancelling ends it at once. `passwords` as for the ground.

    :raises ListenError: a port cannot be bound.
    """
    raise_descriptor_limit()
    keep_large_blocks()
    opened = open_hub(config, sources or system_sources(), passwords)
    async with opened as hub, trio.open_nursery() as services:
        connections_are_over = trio.Event()
        await services.start(_keep_audit_log, hub, connections_are_over)
        await hub.services.connections.end_leftovers()
        await warn_of_unreachable_apps(hub.services.apps)
        services.start_soon(hub.services.leases.run)
        services.start_soon(hub.services.watch.run)
        services.start_soon(hub.services.connections.keep_places)
        services.start_soon(hub.services.requests.run)
        services.start_soon(hub.services.housekeeping.run)
        services.start_soon(hub.services.app_health.run)
        if hub.services.webhooks is not None:
            services.start_soon(hub.services.webhooks.run)
        services.start_soon(hub.ground.refusals.run)
        services.start_soon(hub.services.app_entry.sessions.run)
        services.start_soon(hub.app_proxy.run)
        services.start_soon(renew_certificates, hub.tls, hub.ground.sources)
        services.start_soon(_keep_trust, hub)
        try:
            async with trio.open_nursery() as connections:
                async with trio.open_nursery() as listeners:
                    addresses = await _listen(config, hub, listeners, connections)
                    hub.services.addresses.bound(addresses)
                    await _emit(hub, EventType.HUB_STARTED)
                    _log.info("hub ready", extra={"hub_id": hub.ground.hub_id, **addresses})
                    task_status.started(RunningHub(hub=hub, addresses=addresses))
                    await stop.wait()
                    listeners.cancel_scope.cancel()
                _drain(hub, connections)
            await hub.ground.refusals.summarise()
            await write_last_requests(hub.services.app_requests)
            await _emit(hub, EventType.HUB_STOPPED)
        finally:
            connections_are_over.set()
        services.cancel_scope.cancel()


async def _keep_trust(hub: Hub) -> None:
    await keep_trust(
        authorities=hub.ground.authorities,
        rotation=hub.ground.rotation,
        tls=hub.tls,
        registry=hub.services.registry,
    )


async def _keep_audit_log(hub: Hub, over: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
    """Write audit events until `over`, whatever is cancelled: connections that are cut have their ends recorded."""
    with trio.CancelScope(shield=True):
        async with trio.open_nursery() as nursery:
            await nursery.start(hub.ground.audit.run)
            await nursery.start(hub.services.app_requests.run)
            task_status.started()
            await over.wait()
            await write_last_requests(hub.services.app_requests)
            nursery.cancel_scope.cancel()


async def write_last_requests(log: AppRequestLog) -> None:
    """Wait until all records of requests are committed, as long as FLUSH_SECONDS; what is left is lost, and said."""
    with trio.move_on_after(FLUSH_SECONDS):
        await log.flush()
    if log.waiting:
        _log.critical("requests to applications were not recorded", extra={"requests": log.waiting})


async def _emit(hub: Hub, event_type: EventType) -> None:
    await hub.ground.audit.emit(event_type, resource_type="hub", resource_name=hub.ground.hub_id)


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
    addresses: dict[str, str] = {}
    opened: list[tuple[Port, Sequence[trio.SocketListener]]] = []
    try:
        for port in make_ports(config, hub):
            sockets = await _open(port.name, port.listen)
            opened.append((port, sockets))
            addresses |= dict.fromkeys(port.serves, _bound_address(port.listen, sockets[0]))
    except BaseException:
        for _port, bound in opened:
            for listener in bound:
                listener.socket.close()
        raise
    for port, bound in opened:
        await listeners.start(_serve, bound, port, connections)
    return addresses


async def _serve(
    sockets: Sequence[trio.abc.Listener[Any]],
    port: Port,
    connections: trio.Nursery,
    *,
    task_status: trio.TaskStatus[None],
) -> None:
    await serve_connections(
        sockets,
        port.handler,
        name=port.name,
        limiter=port.limiter,
        handler_nursery=connections,
        task_status=task_status,
    )


async def _open(name: str, listen: ListenAddress) -> Sequence[trio.SocketListener]:
    try:
        return await trio.open_tcp_listeners(listen.port, host=listen.host or None, backlog=BACKLOG)
    except OSError as error:
        raise ListenError(name, listen, error) from error


def _bound_address(listen: ListenAddress, listener: trio.SocketListener) -> str:
    port = listener.socket.getsockname()[1]
    host = f"[{listen.host}]" if ":" in listen.host else listen.host
    return f"{host}:{port}"
