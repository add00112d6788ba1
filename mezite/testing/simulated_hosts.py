# SPDX-License-Identifier: Apache-2.0
"""Hubs, agents and users of a simulated cluster: real accept loops, mux sessions, registry and reconnect loop,
on a network in memory. Authentication is left out: an agent says its name in the first line.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn, Protocol

import attrs
import trio

from mezite.core.mux.connection import Side
from mezite.core.mux.error_codes import ErrorCode
from mezite.net.accept_loop import Connection, serve_connections
from mezite.net.byte_streams import relay
from mezite.net.connection_limits import ConnectionLimiter
from mezite.net.mux_session import (
    ChannelRejectedError,
    MuxSession,
    PendingChannel,
    TunnelClosedError,
)
from mezite.services.nodes.tunnel_registry import StaleEpochError, Tunnel, TunnelRegistry

from .fault_stream import FaultPlan, FaultStream
from .memory_network import MemoryNetwork
from .simulated_traffic import Journal, Transfer, TransferPlan

__all__ = ["AgentLoop", "SimulatedAgent", "SimulatedHost", "SimulatedHub", "SimulatedUser", "World"]

TUNNEL_PORT = 3024
USER_PORT = 3023

#: Seconds an agent's or user's dial may take, as the real dialer's default.
DIAL_SECONDS = 15.0

#: Seconds a hub that goes away in order gives its sessions.
DRAIN_SECONDS = 10.0


class RunsForEver(Protocol):
    """A reconnect loop."""

    async def run(self) -> NoReturn:
        """Until cancelled."""


class AgentLoop(Protocol):
    """The class of the agent's reconnect loop: ``mezite.agent.tunnel_client.TunnelClient``."""

    def __call__(
        self,
        *,
        connect: Callable[[], Awaitable[trio.abc.Stream]],
        serve_channel: Callable[[PendingChannel], Awaitable[None]],
        beside: Callable[[MuxSession], Awaitable[None]],
        jitter: Callable[[], float],
    ) -> RunsForEver:
        """Make one."""


@attrs.define(eq=False)
class World:
    """What everybody in a simulation shares; ``hub_names`` stands for DNS, the epochs for the database."""

    seed: int
    network: MemoryNetwork
    line_faults: FaultPlan
    hub_names: tuple[str, ...]
    journal: Journal = attrs.Factory(Journal)
    registries: dict[str, TunnelRegistry] = attrs.Factory(dict)
    _epoch: int = 0
    _drawn: int = 0

    def rng(self, purpose: str) -> random.Random:
        """Randomness of its own for one purpose, so that one more draw here changes nothing there."""
        self._drawn += 1
        return random.Random(f"{self.seed}/{purpose}/{self._drawn}")  # noqa: S311 - must repeat

    def next_epoch(self) -> int:
        """A fencing number."""
        self._epoch += 1
        return self._epoch

    def hub_of(self, agent: str) -> str | None:
        """The hub that holds the newest tunnel of ``agent``."""
        found = [
            (tunnel.epoch, hub)
            for hub, registry in self.registries.items()
            if (tunnel := registry.find(agent)) is not None
        ]
        return max(found)[1] if found else None


class SimulatedHost:
    """A machine with one program that is started again after it ended."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.is_up = False
        self._scope = trio.CancelScope()
        self._downtime = 0.0

    async def main(self) -> None:
        """The program; to be overridden."""
        raise NotImplementedError

    async def run(self) -> NoReturn:
        """Start the program, again and again."""
        while True:
            self.is_up = True
            with self._scope:
                await self.main()
            self.is_up = False
            self.world.journal.counts["restarts"] += 1
            await trio.sleep(self._downtime)
            self._scope = trio.CancelScope()

    def crash(self, downtime: float, *, power_loss: bool) -> None:
        """Stop at once. With ``power_loss`` the peers are not told, else the kernel resets the connections."""
        if power_loss:
            self.world.network.vanish(self.name)
        else:
            self.world.network.reset_links(self.name)
        self._downtime = downtime
        self._scope.cancel()


class SimulatedHub(SimulatedHost):
    """Holds agents' tunnels and joins users' channels to them."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self._registry = TunnelRegistry()
        self._sessions: dict[MuxSession, None] = {}
        self._drain = trio.Event()

    def drain(self, downtime: float) -> None:
        """Go away in order."""
        self._downtime = downtime
        self._drain.set()

    async def main(self) -> None:
        """Serve until crashed, or drained."""
        self._registry = self.world.registries[self.name] = TunnelRegistry()
        self._sessions.clear()
        self._drain = trio.Event()
        try:
            async with trio.open_nursery() as connections:
                with trio.CancelScope() as accepting:
                    async with trio.open_nursery() as nursery:
                        for port, handler in ((TUNNEL_PORT, self._hold_agent), (USER_PORT, self._serve_user)):
                            nursery.start_soon(self._accept, port, handler, connections)
                        await self._drain.wait()
                        accepting.cancel()
                with trio.move_on_after(DRAIN_SECONDS):
                    async with trio.open_nursery() as nursery:
                        for session in list(self._sessions):
                            nursery.start_soon(session.drain)
                connections.cancel_scope.cancel()
        finally:
            self.world.registries.pop(self.name, None)

    async def _accept(
        self, port: int, handler: Callable[[Connection], Awaitable[None]], connections: trio.Nursery
    ) -> None:
        listener = self.world.network.listen(f"{self.name}:{port}")
        limiter = ConnectionLimiter(chance=self.world.rng("limiter").random)
        await serve_connections(
            [listener], handler, name=str(port), limiter=limiter, handler_nursery=connections
        )

    async def _hold_agent(self, connection: Connection) -> None:
        agent = await read_line(connection.stream)
        try:
            async with trio.open_nursery() as nursery:
                session = MuxSession(connection.stream, Side.ACCEPTER)
                await nursery.start(session.run)
                await session.wait_round_trip()
                connection.established()
                tunnel = Tunnel(
                    agent_id=agent,
                    node_name=agent,
                    epoch=self.world.next_epoch(),
                    session=session,
                    close=nursery.cancel_scope.cancel,
                )
                self.world.journal.counts["tunnels"] += 1
                with self._registry.claim(tunnel), self._listed(session):
                    await session.wait_closed()
        except* (TunnelClosedError, StaleEpochError):
            pass

    async def _serve_user(self, connection: Connection) -> None:
        try:
            async with trio.open_nursery() as nursery:
                session = MuxSession(connection.stream, Side.ACCEPTER)
                await nursery.start(session.run)
                connection.established()
                with self._listed(session):
                    while True:
                        nursery.start_soon(self._join, await session.accept_channel())
        except* TunnelClosedError:
            pass

    @contextmanager
    def _listed(self, session: MuxSession) -> Iterator[None]:
        self._sessions[session] = None
        try:
            yield
        finally:
            self._sessions.pop(session, None)

    async def _join(self, pending: PendingChannel) -> None:
        tunnel = self._registry.find(pending.header.target)
        if tunnel is None:
            pending.reject(ErrorCode.NOT_FOUND, "the agent is not here")
            return
        try:
            channel = await tunnel.session.open_channel(pending.header)
        except ChannelRejectedError as error:
            pending.reject(error.code, error.text)
        except TunnelClosedError as error:
            pending.reject(ErrorCode.UNREACHABLE, str(error))
        else:
            try:
                await relay(await pending.accept(), channel)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                channel.reset(ErrorCode.CONNECTION_LOST, "the user is gone")


class SimulatedAgent(SimulatedHost):
    """Keeps a tunnel with the real reconnect loop and answers transfers."""

    def __init__(self, world: World, name: str, loop: AgentLoop) -> None:
        super().__init__(world, name)
        self._loop = loop
        self._dials = 0
        self.line: FaultStream | None = None
        """the newest connection"""

    async def main(self) -> None:
        """Until crashed."""
        jitter = self.world.rng("jitter").random
        client = self._loop(
            connect=self._connect, serve_channel=self._serve, beside=self._beside, jitter=jitter
        )
        await client.run()

    async def _connect(self) -> trio.abc.Stream:
        self._dials += 1
        hub = self.world.hub_names[self._dials % len(self.world.hub_names)]
        self.line = await dial(self.world, self.name, hub, TUNNEL_PORT)
        try:
            await self.line.send_all(self.name.encode() + b"\n")
        except BaseException:
            await trio.aclose_forcefully(self.line)
            raise
        return self.line

    async def _serve(self, pending: PendingChannel) -> None:
        plan = TransferPlan.from_header(pending.header)
        try:
            channel = await pending.accept()
        except trio.BrokenResourceError:
            return
        await Transfer(plan, channel, self.world.journal, self.world.rng("answer"), at_agent=True).run()

    async def _beside(self, session: MuxSession) -> None:
        await trio.sleep_forever()


class SimulatedUser:
    """Dials the hub of an agent and runs a transfer through it."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name

    async def transfer(self, agent: str, plan: TransferPlan) -> bool:
        """Whether the transfer was complete; False for every kind of failure."""
        hub = self.world.hub_of(agent)
        if hub is None:
            self.world.journal.counts["agent not online"] += 1
            return False
        complete = False
        with self.world.journal.running(f"user {self.name} on transfer {plan.number}"):
            try:
                line = await dial(self.world, self.name, hub, USER_PORT)
                async with trio.open_nursery() as nursery:
                    session = MuxSession(line, Side.DIALER)
                    with trio.fail_after(DIAL_SECONDS):
                        await nursery.start(session.run)
                    complete = await self._run_transfer(session, agent, plan)
                    with trio.move_on_after(DRAIN_SECONDS):
                        await session.drain()
                    nursery.cancel_scope.cancel()
            except* (TunnelClosedError, ChannelRejectedError, OSError, trio.TooSlowError):
                pass
        return complete

    async def _run_transfer(self, session: MuxSession, agent: str, plan: TransferPlan) -> bool:
        header = attrs.evolve(plan.header, target=agent, user=self.name)
        channel = await session.open_channel(header)
        rng = self.world.rng("transfer")
        return await Transfer(plan, channel, self.world.journal, rng, at_agent=False).run()


async def dial(world: World, source: str, hub: str, port: int) -> FaultStream:
    """A line under the world's faults. Raises OSError, trio.TooSlowError."""
    with trio.fail_after(DIAL_SECONDS):
        stream = await world.network.dial(f"{hub}:{port}", source=source)
    return FaultStream(stream, world.line_faults, world.rng("line"))


async def read_line(stream: trio.abc.Stream) -> str:
    """The agent's name."""
    line = bytearray()
    while not line.endswith(b"\n"):
        data = await stream.receive_some(1)
        if not data:
            raise trio.BrokenResourceError("the agent left before it said its name")
        line += data
    return line[:-1].decode()
