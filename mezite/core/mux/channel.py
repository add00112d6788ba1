# SPDX-License-Identifier: Apache-2.0
"""One channel's share of a connection: state, credit both ways, bytes waiting to be sent."""

import attrs

from mezite.core.mux.channel_state import ChannelState
from mezite.core.mux.chunk_queue import ChunkQueue
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.mux.flow_window import ReceiveWindow
from mezite.core.mux.header import ChannelHeader

__all__ = ["Channel"]


@attrs.define(eq=False)
class Channel:
    """Plain state; the table moves it through its life, the scheduler empties its output."""

    channel_id: int
    ours: bool
    """We opened it."""
    header: ChannelHeader
    receive: ReceiveWindow
    send_credit: int
    """Bytes of DATA that the peer takes now."""
    state: ChannelState = ChannelState.IDLE
    output: ChunkQueue = attrs.field(factory=ChunkQueue)
    """Accepted from the application and not sent."""
    ending: bool = False
    """EOF follows the output."""
    closing: tuple[ErrorCode, str] | None = None
    """RESET with this code and text follows the EOF."""
    abandoned: bool = False
    """Nobody will read what arrives, or has arrived: its credit goes back by itself."""
    blocked: bool = False
    """The application was told that the output is full."""
    scheduled: bool = False
    """Stands in one of the scheduler's queues."""
