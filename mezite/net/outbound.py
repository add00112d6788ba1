# SPDX-License-Identifier: Apache-2.0
"""How a program gets out: through which proxy, and whom it believes on a TLS session that a balancer ends."""

from __future__ import annotations

import ssl
from collections.abc import Iterable, Sequence

import attrs
import trio

from mezite.core.outbound_proxy import ProxySettings

from .addresses import split_host_port
from .dialer import DialError, dial
from .http_connect_proxy import dial_through_proxy
from .tls_contexts import client_context
from .tls_stream import TlsError, TlsStream

__all__ = ["Outbound", "OuterTlsError"]


class OuterTlsError(Exception):
    """The TLS session with whatever stands in front of the hub failed; ``address`` and ``reason``."""

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"outer TLS with {address}: {reason}")
        self.address = address
        self.reason = reason

    @property
    def unverified(self) -> bool:
        """Whether the certificate was refused, rather than the session not made at all."""
        return "verify failed" in self.reason


@attrs.frozen(kw_only=True)
class Outbound:
    """The way out of this machine; the default is the direct one, with the system's roots."""

    proxies: ProxySettings = attrs.field(factory=ProxySettings)
    extra_roots: tuple[bytes, ...] = ()
    """PEM, believed on outer TLS sessions besides the system's."""

    async def dial(
        self, address: str, default_port: int, *, deadline_seconds: float = 15
    ) -> trio.abc.HalfCloseableStream:
        """Connect to ``host[:port]``, through the proxy if there is one for it. Raises :exc:`DialError`."""
        try:
            host, port = split_host_port(address, default_port)
        except ValueError as error:
            raise DialError(f"cannot connect to {address!r}", str(error), "write host:port") from None
        proxy = self.proxies.proxy_for(host, port)
        if proxy is None:
            return await dial(address, default_port, deadline_seconds=deadline_seconds)
        return await dial_through_proxy(proxy, host, port, deadline_seconds=deadline_seconds)

    def context(self, alpn: Sequence[str], also: Iterable[bytes] = ()) -> ssl.SSLContext:
        """A context that believes the system's roots, the extra ones and ``also``, and checks the host name."""
        context = client_context(None, alpn)
        for pem in (*self.extra_roots, *also):
            context.load_verify_locations(cadata=pem.decode("ascii"))
        return context

    async def outer_tls(
        self,
        transport: trio.abc.Stream,
        address: str,
        *,
        alpn: Sequence[str] = (),
        also: Iterable[bytes] = (),
        deadline_seconds: float = 15,
    ) -> TlsStream:
        """Run a verified TLS session over ``transport``, which it owns, with what stands at ``address``.

        Raises :exc:`OuterTlsError`; the transport is closed then.
        """
        host, _ = split_host_port(address, 443)
        stream = TlsStream(transport, self.context(alpn, also), server_side=False, server_hostname=host)
        try:
            with trio.fail_after(deadline_seconds):
                await stream.do_handshake()
        except TlsError as error:
            raise OuterTlsError(address, error.reason) from error
        except trio.BrokenResourceError as error:
            raise OuterTlsError(address, "the connection was cut") from error
        except trio.TooSlowError:
            raise OuterTlsError(address, f"no handshake within {deadline_seconds:g} s") from None
        return stream
