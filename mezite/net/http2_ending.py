# SPDX-License-Identifier: Apache-2.0
"""How an HTTP/2 connection ends without losing a call: GOAWAY in two steps (RFC 9113 section 6.8).

The first GOAWAY names the highest stream there can be, so it refuses nothing; a PING follows it. When that is
answered the peer has seen the GOAWAY, and what it opened before is here: the second one names the last of
them.
"""

from __future__ import annotations

import enum
from collections.abc import Callable

import h2.connection
import h2.errors
import trio
from hyperframe.frame import GoAwayFrame

from mezite.net.http2_frame_gate import GoAway

__all__ = ["ConnectionEnding", "EndingState"]

PING_DATA = b"mzgoaway"
MAX_FAREWELL_BYTES = 1024
"""Of the text in a GOAWAY: room for a few sentences, as a hub's wrong port says them."""

ALL_STREAMS = 2**31 - 1


class EndingState(enum.Enum):
    """How far the end has come."""

    SERVING = "serving"
    ANNOUNCED = "announced"
    """GOAWAY said that an end is near; streams that were on their way are still served."""
    FINAL = "final"
    """The last stream was named; later ones are refused."""


class ConnectionEnding:
    """``write`` appends bytes to the output, behind everything that h2 has made."""

    def __init__(
        self, connection: h2.connection.H2Connection, write: Callable[[bytes], None], *, client_side: bool
    ) -> None:
        self.state = EndingState.SERVING
        self.begun = trio.Event()
        self.received: GoAway | None = None
        """The peer's last GOAWAY."""
        self._h2 = connection
        self._write = write
        self._client_side = client_side

    def begin(self) -> None:
        """Announce the end. A client, whose streams are its own, needs no second step."""
        if self.state is not EndingState.SERVING:
            return
        if self._client_side:
            self.finish()
            return
        self.begun.set()
        self.state = EndingState.ANNOUNCED
        self._send_goaway(ALL_STREAMS)
        self._h2.ping(PING_DATA)
        self._write(b"")

    def finish(self) -> None:
        """Name the last stream; also without the answer to the PING."""
        if self.state is not EndingState.FINAL:
            self.state = EndingState.FINAL
            self._send_goaway(self._h2.highest_inbound_stream_id)

    def ping_answered(self, data: bytes) -> None:
        """Some PING of ours was answered."""
        if data == PING_DATA and self.state is EndingState.ANNOUNCED:
            self.finish()

    def receive_goaway(self, goaway: GoAway) -> None:
        """The peer ends the connection: no new streams either way."""
        self.received = goaway
        self.state = EndingState.FINAL

    @property
    def farewell(self) -> str:
        """What the peer's GOAWAY says, on one line. It may hold any text."""
        words = b"" if self.received is None else self.received.debug_data[:MAX_FAREWELL_BYTES]
        text = " ".join(words.decode("utf-8", "replace").split())
        return f"the server is going away: {text}" if text else "the server is going away"

    def abort(self, error_code: h2.errors.ErrorCodes) -> None:
        """Last words before the connection is cut."""
        self.state = EndingState.FINAL
        self._send_goaway(self._h2.highest_inbound_stream_id, error_code)

    def _send_goaway(
        self, last_stream_id: int, error_code: h2.errors.ErrorCodes = h2.errors.ErrorCodes.NO_ERROR
    ) -> None:
        # By hand: h2's own close_connection() shuts its state machine, and open streams with it.
        self._write(GoAwayFrame(0, last_stream_id=last_stream_id, error_code=error_code).serialize())
