# SPDX-License-Identifier: Apache-2.0
"""Two mux sessions over a stream pair that exists in memory."""

import trio
import trio.testing

from mezite.core.mux.connection import ChannelHeader, MuxLimits, Side
from mezite.net.mux_channel import MuxChannel
from mezite.net.mux_session import Keepalive, MuxSession, TunnelClosedError

__all__ = ["SessionPair"]

HEADER = ChannelHeader(kind="test")


class SessionPair:
    """A dialing and an accepting session. ``streams`` default to a pair on which every send waits for its reader.

    ``errors`` holds what the two runs ended with, None for peace, by side.
    """

    def __init__(
        self,
        limits: MuxLimits | None = None,
        *,
        streams: tuple[trio.abc.Stream, trio.abc.Stream] | None = None,
        keepalive: Keepalive | None = None,
    ) -> None:
        self.streams = streams or trio.testing.lockstep_stream_pair()
        limits, keepalive = limits or MuxLimits(), keepalive or Keepalive()
        self.dialer = MuxSession(self.streams[0], Side.DIALER, limits=limits, keepalive=keepalive)
        self.accepter = MuxSession(self.streams[1], Side.ACCEPTER, limits=limits, keepalive=keepalive)
        self.errors: dict[Side, TunnelClosedError | None] = {}

    async def start(self, nursery: trio.Nursery) -> None:
        """Run both; returns when both are ready."""
        async with trio.open_nursery() as starting:
            starting.start_soon(nursery.start, self.run_dialer)
            starting.start_soon(nursery.start, self.run_accepter)

    async def run_dialer(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run one side and note how it ends."""
        await self._run(self.dialer, Side.DIALER, task_status)

    async def run_accepter(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run one side and note how it ends."""
        await self._run(self.accepter, Side.ACCEPTER, task_status)

    async def open(self, header: ChannelHeader = HEADER) -> tuple[MuxChannel, MuxChannel]:
        """A channel opened by the dialer, from both its ends."""
        ends: list[MuxChannel] = []

        async def accept() -> None:
            offer = await self.accepter.accept_channel()
            ends.append(await offer.accept())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(accept)
            ends.append(await self.dialer.open_channel(header))
        (theirs,) = [end for end in ends if end is not ends[-1]]
        return ends[-1], theirs

    async def _run(self, session: MuxSession, side: Side, task_status: trio.TaskStatus[None]) -> None:
        try:
            await session.run(task_status=task_status)
            self.errors[side] = None
        except TunnelClosedError as error:
            self.errors[side] = error
