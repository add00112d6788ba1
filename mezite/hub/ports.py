# SPDX-License-Identifier: Apache-2.0
"""Which listeners a configuration asks for, and what stands behind each."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address

import attrs

from mezite.config.kinds import ListenAddress, Network
from mezite.config.schema import HubConfig, ProxyConfig
from mezite.core import alpn
from mezite.core.audit.event_types import EventType
from mezite.core.proxy_protocol.trust import ProxyMode, TrustPolicy
from mezite.handlers.ports.grpc_port import GrpcPort
from mezite.handlers.ports.single_port import Share, SinglePort
from mezite.handlers.ports.ssh_port import SshPort
from mezite.handlers.ports.tls_router import TlsRoute, TlsRouter, outer_route
from mezite.handlers.ports.tunnel_port import TunnelPort
from mezite.handlers.ports.tunnel_routes import agent_route, user_route
from mezite.handlers.ports.web_port import WebPort, web_handler, web_route
from mezite.handlers.ports.wrong_door import WrongDoor
from mezite.hub.assembly import Hub
from mezite.net.accept_loop import Connection, Handler
from mezite.net.connection_limits import ConnectionLimiter, ConnectionLimits
from mezite.net.proxied_listener import ProxiedListener

__all__ = ["Port", "connection_limiters", "make_ports"]

DIAGNOSTIC_CONNECTIONS = 64
"""A few who watch, each with a few connections."""


@attrs.frozen(kw_only=True)
class Port:
    """One listener to open."""

    name: str
    listen: ListenAddress
    handler: Handler
    limiter: ConnectionLimiter
    """May be shared with other listeners."""
    serves: tuple[str, ...] = attrs.field()
    """Under these names it is announced; just its own unless it serves several protocols."""

    @serves.default
    def _just_its_own(self) -> tuple[str, ...]:
        return (self.name,)


def connection_limiters(config: HubConfig) -> dict[str, ConnectionLimiter]:
    """Return what counts the connections of each listener (threats A11, T8).

    Anybody may hold a connection to the web and gRPC ports, for as long as requests come: these have a third of all, so
    that they cannot take the places of tunnels and of users' SSH. Health is asked for even when all is taken: else who
    watches would restart a hub that is merely busy. Balancers, whose connections are many clients', are let off the
    limit for one address (C7).
    """
    total, per_ip = config.proxy.max_connections, config.proxy.max_connections_per_ip
    policy, named = _trust(config), _named_balancers(config)

    def speaks_for_others(client_ip: str) -> bool:
        try:
            address = ip_address(client_ip)
        except ValueError:
            return False
        proxied = config.proxy.proxy_protocol != ProxyMode.OFF.value and policy.trusts(address)
        return proxied or any(address in network for network in named if network.version == address.version)

    def limiter(share: int) -> ConnectionLimiter:
        limits = ConnectionLimits(max_connections=share, max_connections_per_ip=per_ip)
        return ConnectionLimiter(limits, speaks_for_others=speaks_for_others)

    anybody = limiter(max(1, total // 3))
    proven = limiter(max(1, total - total // 3))
    return {
        "web": anybody,
        "auth": anybody,
        "tunnel": proven,
        "ssh": proven,
        "single": limiter(total),
        "diag": limiter(DIAGNOSTIC_CONNECTIONS),
    }


def _named_balancers(config: HubConfig) -> tuple[Network, ...]:
    """Balancers that write a header, if they were listed: the default, all private networks, is no such list."""
    cidrs = config.proxy.trusted_ip_header_cidrs
    listed = config.proxy.trusted_ip_header is not None and cidrs != ProxyConfig().trusted_ip_header_cidrs
    return cidrs if listed else ()


def make_ports(config: HubConfig, hub: Hub) -> list[Port]:
    """Return the listeners of this hub. Where the PROXY protocol is on, it is read ahead of everything."""
    limiters = connection_limiters(config)
    grpc = GrpcPort(
        context=lambda: hub.tls.grpc,
        serve_api=hub.serve_api,
        allow_cleartext=config.auth.grpc_allow_http or config.auth.h2c,
    )
    if config.proxy.enabled and config.proxy.single_port:
        ports = [_single_port(config, hub, grpc, limiters)]
    else:
        ports = _separate_ports(config, hub, grpc, limiters)
    diagnostics = WebPort(
        router=None, cleartext=True, front=hub.diagnostics, wrong_door=_wrong_door(hub, _HERE["diag"])
    )
    ports.append(
        Port(
            name="diag", listen=config.diag.listen_addr, handler=diagnostics.handle, limiter=limiters["diag"]
        )
    )
    return ports


def _separate_ports(
    config: HubConfig, hub: Hub, grpc: GrpcPort, limiters: Mapping[str, ConnectionLimiter]
) -> list[Port]:
    wanted: dict[str, tuple[ListenAddress, Handler]] = {}
    if config.proxy.enabled:
        wanted["web"] = (config.proxy.listen_addr, _web_port(config, hub).handle)
        wanted["ssh"] = (config.proxy.ssh_listen_addr, _ssh_port(config, hub).handle)
        wanted["tunnel"] = (config.proxy.tunnel_listen_addr, _tunnel_port(config, hub).handle)
    if config.auth.enabled:
        wanted["auth"] = (config.auth.listen_addr, grpc.handle)
    return [
        Port(name=name, listen=listen, handler=_proxied(name, handler, config, hub), limiter=limiters[name])
        for name, (listen, handler) in wanted.items()
    ]


def _single_port(
    config: HubConfig, hub: Hub, grpc: GrpcPort, limiters: Mapping[str, ConnectionLimiter]
) -> Port:
    """Everything on `proxy.listen_addr`. In TLS mode `off`, tunnels and gRPC speak TLS all the same."""
    share = Share(limiters["web"])
    off = config.proxy.tls_mode == "off"
    wrong_door = _wrong_door(hub, _HERE["single"])
    tunnels = hub.inner_tls.routes
    web = share.of_route(web_route(lambda: hub.tls.web, hub.web))
    inside = SinglePort(
        router=TlsRouter(routes=tunnels, saw=hub.saw),
        jump=hub.jump,
        http1=share.of_handler(web_handler(hub.web, "https")),
        http2=share.of_handler(grpc.serve_cleartext) if config.auth.enabled else None,
        wrong_door=wrong_door,
    )
    own_grpc, any_grpc = (
        share.of_route(TlsRoute(alpn=(name,), context=lambda: hub.tls.grpc, serve=grpc.serve_tls))
        for name in (alpn.GRPC, alpn.HTTP2)
    )
    # Browsers offer h2 as well, and must not get it (see core/alpn.py); gRPC clients offer nothing else.
    routes = [*tunnels, own_grpc, web, any_grpc]
    left_out = [web] * off + [own_grpc, any_grpc] * (not config.auth.enabled)
    port = SinglePort(
        router=TlsRouter(
            routes=[route for route in routes if route not in left_out],
            otherwise=_outer(config, hub, inside.handle),
            saw=hub.saw,
        ),
        jump=hub.jump,
        http1=share.of_handler(web_handler(hub.web, "http")) if off or config.auth.h2c else None,
        http2=inside.http2 if off or grpc.allow_cleartext else None,
        wrong_door=wrong_door,
    )
    return Port(
        name="web",
        listen=config.proxy.listen_addr,
        handler=_proxied("web", port.handle, config, hub),
        limiter=limiters["single"],
        serves=("web", "ssh", "tunnel", *(("auth",) if config.auth.enabled else ())),
    )


_HERE = {
    "web": "This is the HTTPS port of a mezite hub (proxy.listen_addr). It speaks HTTPS.",
    "cleartext": (
        "This is the web port of a mezite hub (proxy.listen_addr). It speaks HTTP/1.1 without TLS, because a load "
        "balancer holds the TLS (proxy.tls_mode off)."
    ),
    "ssh": "This is the SSH port of a mezite hub (proxy.ssh_listen_addr).",
    "tunnel": "This is the port of a mezite hub for agents (proxy.tunnel_listen_addr).",
    "single": (
        "This is the port of a mezite hub (proxy.single_port). It speaks HTTPS, SSH, gRPC in TLS and mezite's own "
        "protocols; HTTP without TLS only where a load balancer holds the TLS (proxy.tls_mode off)."
    ),
    "diag": "This is the diagnostics port of a mezite hub (diag.listen_addr). It speaks HTTP/1.1 without TLS.",
}
"""What each port says of itself to those who meant another one."""


def _wrong_door(hub: Hub, here: str) -> WrongDoor:
    return WrongDoor(here=here, addresses=hub.services.addresses.advertised)


def _web_port(config: HubConfig, hub: Hub) -> WebPort:
    web = web_route(lambda: hub.tls.web, hub.web)
    off = config.proxy.tls_mode == "off"
    return WebPort(
        router=None if off else TlsRouter(routes=(web,), otherwise=web, saw=hub.saw),
        cleartext=off or config.auth.h2c,
        front=hub.web,
        wrong_door=_wrong_door(hub, _HERE["cleartext" if off else "web"]),
    )


def _ssh_port(config: HubConfig, hub: Hub) -> SshPort:
    users = (user_route(lambda: hub.tls.connect, hub.user_tunnels),)
    wrong_door = _wrong_door(hub, _HERE["ssh"])
    inside = SshPort(router=TlsRouter(routes=users, saw=hub.saw), jump=hub.jump, wrong_door=wrong_door)
    router = TlsRouter(routes=users, otherwise=_outer(config, hub, inside.handle), saw=hub.saw)
    return SshPort(router=router, jump=hub.jump, wrong_door=wrong_door)


def _tunnel_port(config: HubConfig, hub: Hub) -> TunnelPort:
    agents = (agent_route(lambda: hub.tls.tunnel, hub.agent_tunnels),)
    wrong_door = _wrong_door(hub, _HERE["tunnel"])
    inside = TunnelPort(router=TlsRouter(routes=agents, saw=hub.saw), wrong_door=wrong_door)
    router = TlsRouter(routes=agents, otherwise=_outer(config, hub, inside.handle), saw=hub.saw)
    return TunnelPort(router=router, wrong_door=wrong_door)


def _outer(config: HubConfig, hub: Hub, inside: Handler) -> TlsRoute | None:
    """The outer TLS session that this hub ends itself; none where a load balancer holds the TLS."""
    return None if config.proxy.tls_mode == "off" else outer_route(lambda: hub.tls.web, inside)


def _trust(config: HubConfig) -> TrustPolicy:
    return TrustPolicy(ProxyMode(config.proxy.proxy_protocol), config.proxy.proxy_protocol_trusted_cidrs)


def _proxied(name: str, handler: Handler, config: HubConfig, hub: Hub) -> Handler:
    async def audit(connection: Connection, reason: str) -> None:
        await hub.ground.refusals.emit(
            EventType.ACCESS_DENIED,
            resource_type="listener",
            resource_name=name,
            client_ip=connection.peer_address,
            error_message=f"refused a connection: {reason}",
        )

    # Clients of the SSH port may wait for our banner before they say anything (threat C5).
    server_first = name == "ssh" or config.proxy.single_port
    proxied = ProxiedListener(
        policy=_trust(config), handler=handler, refused=audit, server_first=server_first
    )
    return proxied.handle
