# SPDX-License-Identifier: Apache-2.0
"""When the peer may send more: the connection's window on receipt, a stream's as its user takes the bytes."""

from __future__ import annotations

from collections.abc import Callable

import h2.connection

from mezite.net.http2_limits import Http2Limits
from mezite.net.http2_stream import Http2Stream

__all__ = ["ReceiveWindows"]


class ReceiveWindows:
    """Grants in halves of a window, so that there is not a WINDOW_UPDATE for each DATA frame."""

    def __init__(
        self, connection: h2.connection.H2Connection, limits: Http2Limits, on_output: Callable[[], None]
    ) -> None:
        self._h2 = connection
        self._limits = limits
        self._on_output = on_output
        self._debt = 0

    def received(self, size: int) -> None:
        """So many flow-controlled bytes arrived on some stream."""
        self._debt += size
        if self._debt >= self._limits.connection_window // 2:
            self._h2.increment_flow_control_window(self._debt)
            self._debt = 0

    def consumed(self, stream: Http2Stream, size: int) -> None:
        """So many of them were taken by the stream's user, or were padding."""
        stream.window_debt += size
        if stream.window_debt >= self._limits.stream_window // 2 and stream.receives_data:
            self._h2.increment_flow_control_window(stream.window_debt, stream.stream_id)
            stream.window_debt = 0
            self._on_output()
