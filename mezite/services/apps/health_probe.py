# SPDX-License-Identifier: Apache-2.0
"""One health check: the way of a request, through one agent, up to the head of its response.

No user is named and no body is read, so whatever the application says costs 64 KiB for the final head, and at most
16 heads before it, within 10 seconds.
"""

from __future__ import annotations

import attrs
import trio

from mezite.core.apps.app import App
from mezite.core.apps.health import health_fields, status_reason
from mezite.core.apps.upstream_uri import UpstreamScheme
from mezite.core.http1.response_reader import ResponseHead
from mezite.core.mux.error_codes import ErrorCode
from mezite.net.app_upstream import UpstreamConnection, UpstreamError
from mezite.net.app_upstream_opening import UpstreamOpener
from mezite.net.byte_streams import abort_stream
from mezite.services.apps.dialing import AppDialer, DialAttempt
from mezite.services.nodes.tunnel_registry import Tunnel

__all__ = ["CHECK_SECONDS", "HealthProbe"]

CHECK_SECONDS = 10
"""A whole check. Users of an application whose health page takes longer are not served well either."""


@attrs.frozen(kw_only=True)
class HealthProbe:
    """Checks applications as they are reached."""

    dialer: AppDialer
    opener: UpstreamOpener = attrs.field(factory=UpstreamOpener)

    async def failure(self, app: App, tunnel: Tunnel) -> str | None:
        """Return what has failed, an empty string where nothing has; None where only the tunnel was in the way."""
        with trio.move_on_after(CHECK_SECONDS):
            opened = await self.dialer.open_through(app, tunnel)
            if isinstance(opened, DialAttempt):
                return None if opened.about_tunnel else opened.why
            try:
                return await self._spoken_with(app, opened.stream)
            finally:
                with trio.CancelScope(shield=True):
                    await abort_stream(opened.stream, ErrorCode.CANCELLED, "the health check is over")
        return f"no answer within {CHECK_SECONDS} s"

    async def _spoken_with(self, app: App, stream: trio.abc.Stream) -> str:
        async with trio.open_nursery() as nursery:
            try:
                if app.options.health_path:
                    http2 = not app.options.http1_only
                    connection = await self.opener.open(app, stream, "", connections=nursery, http2=http2)
                    return status_reason(await self._status(app, connection))
                if app.upstream.scheme is UpstreamScheme.HTTPS:
                    await self.opener.secured(app, stream)
            except UpstreamError as error:
                return str(error)
            finally:
                nursery.cancel_scope.cancel()
        return ""

    @staticmethod
    async def _status(app: App, connection: UpstreamConnection) -> int:
        target = f"{app.upstream.path}{app.options.health_path}".encode("ascii")
        await connection.begin(b"GET", target, health_fields(app))
        while True:
            event = await connection.next_event()
            if isinstance(event, ResponseHead) and event.status >= 200:
                return event.status
