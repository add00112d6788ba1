# SPDX-License-Identifier: Apache-2.0
"""What carries an agent's tunnel, by its configuration, and what to do when it does not."""

from __future__ import annotations

from mezite.config.schema import AgentConfig
from mezite.core.wrong_doors import tunnel_port_hint
from mezite.net.outbound import Outbound, OuterTlsError
from mezite.net.tls_stream import TlsError
from mezite.net.tunnel_route import HTTPS_PORT, Carrier, TunnelRoute
from mezite.net.websocket_upgrade import UpgradeError

__all__ = ["TUNNEL_PORT", "inner_failure", "outer_failure", "route_of"]

TUNNEL_PORT = 3024

WEBSOCKET_SCHEME = "https://"


def route_of(config: AgentConfig, outbound: Outbound) -> TunnelRoute:
    """Return the way to the hub: `proxy_addr` with `https://` is a WebSocket, `tls_wrap` an outer TLS session."""
    if config.proxy_addr.startswith(WEBSOCKET_SCHEME):
        return TunnelRoute(
            address=config.proxy_addr.removeprefix(WEBSOCKET_SCHEME),
            default_port=HTTPS_PORT,
            carrier=Carrier.WEBSOCKET,
            outbound=outbound,
        )
    carrier = Carrier.TLS if config.tls_wrap else Carrier.TCP
    return TunnelRoute(
        address=config.proxy_addr, default_port=TUNNEL_PORT, carrier=carrier, outbound=outbound
    )


def outer_failure(route: TunnelRoute, error: OuterTlsError | UpgradeError) -> str:
    """Say what failed around the inner TLS session, and what to do."""
    if isinstance(error, UpgradeError):
        return f"{route.address} does not accept a tunnel: WebSocket: {error.reason}; {_upgrade_hint(error)}"
    hint = "tls_wrap needs a load balancer or hub that speaks TLS there: check proxy_addr, or set tls_wrap to false"
    if route.carrier is Carrier.WEBSOCKET:
        hint = "https:// in proxy_addr needs the hub's HTTPS port: check the address"
    if error.unverified:
        hint = "set outer_ca_file (MEZITE_OUTER_CA_FILE) to the CA of the balancer's certificate, or check the name"
    return f"{route.address} does not accept a tunnel: outer TLS: {error.reason}; {hint}"


def _upgrade_hint(error: UpgradeError) -> str:
    if error.status == 421:
        return "the hub does not answer for this host: use the address in its proxy.public_addr"
    if error.status in (502, 503, 504):
        return "the balancer cannot reach the hub"
    return (
        "check that proxy_addr is the hub's HTTPS address, and that a balancer passes on WebSockets (Upgrade)"
    )


def inner_failure(route: TunnelRoute, error: TlsError) -> str:
    """Say that the inner TLS session failed, and what to do. It is named only where there is another one."""
    begin = f"{route.address} does not accept a tunnel: "
    if route.carrier is Carrier.WEBSOCKET:
        return f"{begin}inner TLS: {error.reason}; check that the hub at proxy_addr is one of this agent's cluster"
    port = tunnel_port_hint(route.address)
    if route.carrier is Carrier.TLS:
        what_is_in_it = "and that the balancer passes on what is in its TLS session as it is (TCP, not HTTP)"
        return f"{begin}inner TLS: {error.reason}; {port}, {what_is_in_it}"
    if "verify failed" in error.reason:
        port += "; if a load balancer ends TLS there, set tls_wrap (MEZITE_TLS_WRAP=true)"
    return f"{begin}{error.reason}; {port}"
