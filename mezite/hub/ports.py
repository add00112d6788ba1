# SPDX-License-Identifier: Apache-2.0
"""Which listeners a configuration asks for, and what stands behind each."""

from __future__ import annotations

from ipaddress import ip_address

import attrs

from mezite.config.kinds import ListenAddress
from mezite.config.schema import HubConfig
from mezite.core.audit.event_types import EventType
from mezite.core.proxy_protocol.trust import ProxyMode, TrustPolicy
from mezite.handlers.ports.grpc_port import GrpcPort
from mezite.handlers.ports.ssh_port import SshPort
from mezite.handlers.ports.tunnel_port import TunnelPort
from mezite.handlers.ports.web_port import WebPort
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


def connection_limiters(config: HubConfig) -> dict[str, ConnectionLimiter]:
    """Return what counts the connections of each listener (threats A11, T8).

    Anybody may hold a connection to the web and gRPC ports, for as long as requests come: these have a third of all, so
    that they cannot take the places of tunnels and of users' SSH. Health is asked for even when all is taken: else who
    watches would restart a hub that is merely busy. Balancers, whose connections are many clients', are let off the
    limit for one address (C7).
    """
    total, per_ip = config.proxy.max_connections, config.proxy.max_connections_per_ip
    policy = _trust(config)

    def speaks_for_others(client_ip: str) -> bool:
        try:
            return config.proxy.proxy_protocol != ProxyMode.OFF.value and policy.trusts(ip_address(client_ip))
        except ValueError:
            return False

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
        "diag": limiter(DIAGNOSTIC_CONNECTIONS),
    }


def make_ports(config: HubConfig, hub: Hub) -> list[Port]:
    """Return the listeners of this hub. Where the PROXY protocol is on, it is read ahead of everything."""
    wanted: dict[str, tuple[ListenAddress, Handler]] = {}
    if config.proxy.enabled:
        web = WebPort(context=None if config.proxy.tls_mode == "off" else hub.tls.web, front=hub.web)
        ssh = SshPort(context=hub.tls.connect, tunnels=hub.user_tunnels, jump=hub.jump)
        tunnel = TunnelPort(context=hub.tls.tunnel, tunnels=hub.agent_tunnels)
        wanted["web"] = (config.proxy.listen_addr, web.handle)
        wanted["ssh"] = (config.proxy.ssh_listen_addr, ssh.handle)
        wanted["tunnel"] = (config.proxy.tunnel_listen_addr, tunnel.handle)
    if config.auth.enabled:
        grpc = GrpcPort(
            context=hub.tls.grpc,
            serve_api=hub.serve_api,
            allow_cleartext=config.auth.grpc_allow_http or config.auth.h2c,
        )
        wanted["auth"] = (config.auth.listen_addr, grpc.handle)
    limiters = connection_limiters(config)
    ports = [
        Port(name=name, listen=listen, handler=_proxied(name, handler, config, hub), limiter=limiters[name])
        for name, (listen, handler) in wanted.items()
    ]
    diagnostics = WebPort(context=None, front=hub.diagnostics)
    ports.append(
        Port(
            name="diag", listen=config.diag.listen_addr, handler=diagnostics.handle, limiter=limiters["diag"]
        )
    )
    return ports


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
    proxied = ProxiedListener(
        policy=_trust(config), handler=handler, refused=audit, server_first=name == "ssh"
    )
    return proxied.handle
