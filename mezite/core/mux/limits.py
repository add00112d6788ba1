# SPDX-License-Identifier: Apache-2.0
"""What one mux connection may use, each number with its reason."""

from typing import Final

import attrs

__all__ = ["LARGEST_CREDIT", "LARGEST_FRAME", "SMALLEST_WINDOW", "MuxLimits"]

KIB: Final = 1024
MIB: Final = 1024 * KIB

LARGEST_CREDIT: Final = 2**31 - 1
"""Credit is announced in 4 bytes; half of that range leaves no doubt about signs in any implementation."""
LARGEST_FRAME: Final = MIB
"""One frame holds up all other channels for as long as it takes to send: 1 MiB is 0.1 s on 100 Mbit/s."""
SMALLEST_WINDOW: Final = 4 * KIB
"""Less than a page per round trip is no channel."""


@attrs.frozen(kw_only=True)
class MuxLimits:
    """Limits of one side of a connection; all bytes. Raises ValueError when they contradict each other."""

    max_frame: int = 512 * KIB
    """Longest DATA payload, in both directions: one portion of a relay, so that it is neither cut nor joined.

    A slow line holds it for 0.4 s at 10 Mbit/s; the socket in front of it holds more.
    """
    max_channels: int = 1024
    """Channels that each side may have open at once: a busy hub sees some hundred sessions to one agent."""
    accept_backlog: int = 256
    """Channels of the peer that may wait for the application's answer."""
    channel_window: int = 64 * KIB
    """What a peer may send on a new channel unread.

    All 1,024 channels full are 64 MiB, the connection window.
    """
    channel_window_max: int = 16 * MIB
    """Up to where a window grows: 1 Gbit/s over 130 ms."""
    connection_window: int = 64 * MIB
    """Unread bytes of all channels together."""
    window_growth: int = 32 * MIB
    """What all windows together may grow. The rest of the connection window is 512 starting windows: so many
    channels can stand still without stopping the others (threat B3).
    """
    channel_send_buffer: int = 1024 * KIB
    """Unsent bytes one channel may queue: two portions of a relay, so that one is there when the other has
    gone.
    """
    connection_send_buffer: int = 16 * MIB
    """Unsent bytes of all channels together.

    Near it each channel gets less, but never less than the next number.
    """
    send_buffer_floor: int = 16 * KIB
    """What every channel may always queue: stalled channels cannot take all the buffer (threat B3)."""
    reply_buffer: int = 512 * KIB
    """Unsent frames that the peer caused.

    Resetting all 1,024 channels with the longest text takes 272 KiB.
    """

    def __attrs_post_init__(self) -> None:
        """Check every rule of docs/mux-protocol.md that concerns limits."""
        rules = {
            "max_frame": SMALLEST_WINDOW <= self.max_frame <= LARGEST_FRAME,
            "max_channels": 0 <= self.max_channels <= 65536,
            "accept_backlog": self.accept_backlog >= 0,
            "channel_window": SMALLEST_WINDOW <= self.channel_window <= self.channel_window_max,
            "channel_window_max": self.channel_window_max <= 16 * MIB,
            "connection_window": self.channel_window <= self.connection_window <= LARGEST_CREDIT,
            "window_growth": 0 <= self.window_growth < self.connection_window,
            "send_buffer_floor": 0 < self.send_buffer_floor <= self.channel_send_buffer,
            "connection_send_buffer": self.channel_send_buffer <= self.connection_send_buffer,
            "reply_buffer": self.reply_buffer >= 4 * KIB,
        }
        broken = [name for name, holds in rules.items() if not holds]
        if broken:
            raise ValueError(f"mux limits out of range: {', '.join(broken)}")
