# SPDX-License-Identifier: Apache-2.0
"""From a stream that an agent has connected to an application's server, to a connection that takes requests."""

from __future__ import annotations

import attrs
import trio

from mezite.core.apps.app import App
from mezite.core.apps.upstream_uri import UpstreamScheme

from .app_upstream import UpstreamConnection, UpstreamError
from .app_upstream_http2 import open_http2
from .app_upstream_tls import TlsTrust, UpstreamTls
from .tls_stream import TlsError, TlsStream

__all__ = ["UpstreamOpener"]


@attrs.frozen
class UpstreamOpener:
    """Speaks with applications as their URIs say."""

    tls: UpstreamTls = attrs.field(factory=UpstreamTls)

    async def secured(self, app: App, stream: trio.abc.Stream, *, http2: bool = False) -> TlsStream:
        """Return TLS on ``stream``, for an application whose URI is ``https://``; ``http2`` is offered, too.

        Raises :exc:`UpstreamError` when there is none; the stream is closed then and when cancelled.
        """
        trust = TlsTrust(ca_pem=app.options.ca_pem, skip_verify=app.options.insecure_skip_verify)
        try:
            return await self.tls.wrap(stream, trust, app.upstream.host, http2=http2)
        except TlsError as error:
            raise UpstreamError(f"there is no TLS with {app.upstream.target}: {error.reason}") from error
        except trio.BrokenResourceError as error:
            raise UpstreamError(f"the connection broke in the TLS handshake: {error}") from error

    async def open(
        self,
        app: App,
        stream: trio.abc.Stream,
        agent: str,
        *,
        connections: trio.Nursery,
        http2: bool,
    ) -> UpstreamConnection:
        """Return a connection on ``stream``, which it owns; the application may choose ``http2`` in TLS.

        One of HTTP/2 has a task in ``connections``. Raises as ``secured``.
        """
        if app.upstream.scheme is UpstreamScheme.HTTPS:
            tls = await self.secured(app, stream, http2=http2)
            if tls.alpn == "h2":
                return await open_http2(tls, agent, connections, scheme=b"https")
            return UpstreamConnection(stream=tls, agent=agent)
        if app.upstream.scheme is UpstreamScheme.H2C:
            return await open_http2(stream, agent, connections, scheme=b"http")
        return UpstreamConnection(stream=stream, agent=agent)
