# SPDX-License-Identifier: Apache-2.0
"""HTTP on an accepted stream, for one application."""

from __future__ import annotations

import attrs
import trio

from mezite.net.asgi_types import ASGIApp
from mezite.net.http1_limits import DrainSignal
from mezite.net.http1_server import serve_http1

__all__ = ["WebFront"]


@attrs.define(eq=False, kw_only=True)
class WebFront:
    """Serves an ASGI application on any number of connections."""

    app: ASGIApp
    drain: DrainSignal = attrs.field(factory=DrainSignal)

    async def serve(
        self, stream: trio.abc.Stream, scheme: str, client_address: str, local_address: str
    ) -> None:
        """Serve one connection; owns `stream`."""
        await serve_http1(
            stream, self.app, scheme=scheme, client=client_address, server=local_address, drain=self.drain
        )
