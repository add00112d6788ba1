# SPDX-License-Identifier: Apache-2.0
"""One accept loop for every listener.

Theory of operation. The loop accepts and does nothing else: whatever a peer can delay happens in that
connection's own task, under a deadline and a byte budget, so a silent or slow peer costs a slot and never the
listener (threats A11, D14). Each task ends in an error wall: an ``Exception`` of a handler is logged and
counted, the connection is closed, and nothing else notices (threat P3). Cancellation passes through.

When the process is out of descriptors, ``accept`` fails and the refused peer would stay in the backlog, so
the loop would spin. A reserved descriptor is given up for a moment to accept and close that peer, and the
loop pauses (threat P14).
"""

from __future__ import annotations

import errno
import logging
import math
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import attrs
import trio

from mezite.core.client_address import source_of

from .addresses import connection_addresses
from .byte_streams import PushbackStream
from .connection_limits import (
    Admission,
    BudgetedStream,
    BudgetExceededError,
    ConnectionLimiter,
    TooManyConnectionsError,
)
from .fair_turns import FairTurns, TooManyWaitingError
from .log_budget import LogBudget
from .socket_options import tune_connection

__all__ = ["Connection", "Handler", "serve_connections"]

_log = logging.getLogger("mezite.net.accept")

#: Pause after a failed accept (seconds): long enough not to spin, short against a client's patience.
ACCEPT_PAUSE_SECONDS = 0.1

#: Connections accepted at once; each costs a tenth of a millisecond.
ACCEPT_BURST = 32

_CAPACITY_ERRORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

#: What a peer that goes away looks like from inside a handler: worth a debug line, not a traceback.
_PEER_WENT_AWAY = (
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    ConnectionError,
    BudgetExceededError,
    TooManyWaitingError,
)


@attrs.define(eq=False)
class Connection:
    """One accepted connection, as a handler gets it; ``stream`` is closed when the handler returns."""

    stream: PushbackStream
    peer_address: str
    """``ip:port`` of the TCP peer, possibly a balancer"""
    local_address: str
    """``ip:port`` it came in on"""
    listener: str
    """The name of the listener"""
    _lift: Callable[[], None]
    _count_under: Callable[[str], str | None]
    _turns: FairTurns = attrs.field(factory=FairTurns)
    client_address: str = attrs.field(init=False)
    """``ip:port`` of the client: the TCP peer, or whom a trusted PROXY header names"""

    def __attrs_post_init__(self) -> None:
        self.client_address = self.peer_address

    @property
    def client_ip(self) -> str:
        """The client's address without its port."""
        return host_of_peer(self.client_address)

    def identify(self, client_address: str) -> str | None:
        """A trusted PROXY header says who the client is: count the connection there from now on.

        Returns None, or why the client may not have another connection; close it then.
        """
        reason = self._count_under(host_of_peer(client_address))
        if reason is None:
            self.client_address = client_address
        return reason

    def inside(self, stream: trio.abc.Stream) -> Connection:
        """The same connection behind a layer that was taken off; ``stream`` carries what was inside.

        Deadline and byte budget stay those of the connection as a whole.
        """
        inner = Connection(
            PushbackStream(stream),
            self.peer_address,
            self.local_address,
            self.listener,
            self._lift,
            self._count_under,
            self._turns,
        )
        inner.client_address = self.client_address
        return inner

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Have a turn at what costs processor time, for a peer that has not proven who it is.

        A hand-shake costs milliseconds of it, and whatever is runnable runs before anything else is looked at: a few
        hundred at once would stop everything for a second. So there is one at a time, in turns between clients, with
        room for others after each.

        :raises TooManyWaitingError: this client, or all together, have asked for so many that this one had better go.
        """
        async with self._turns.turn(source_of(self.client_ip)):
            try:
                yield
            finally:
                await trio.lowlevel.cancel_shielded_checkpoint()

    def established(self) -> None:
        """The peer has proven who it is: lift the deadline and the byte budget. Repeating it is harmless."""
        self._lift()


Handler = Callable[[Connection], Awaitable[object]]


async def serve_connections(
    listeners: Sequence[trio.abc.Listener[Any]],
    handler: Handler,
    *,
    name: str,
    limiter: ConnectionLimiter,
    handler_nursery: trio.Nursery | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> NoReturn:
    """Accept on ``listeners``, which it owns and closes, and run ``handler`` in a task per connection.

    Never returns; end it by cancelling. Connections run in ``handler_nursery`` when one is given: cancelling
    the accept loop then stops only the accepting, and the caller drains what is open. Without one they are
    cancelled together with the loop.

    ``limiter`` may be shared by several loops. ``name`` appears in logs and in :attr:`Connection.listener`.
    A handler's ``Exception`` never comes out of here; anything else (``KeyboardInterrupt``) does.
    """
    async with trio.open_nursery() as nursery:
        loop = _AcceptLoop(
            handler=handler, name=name, limiter=limiter, tasks=handler_nursery or nursery, reserve=_Reserve()
        )
        try:
            for listener in listeners:
                nursery.start_soon(loop.accept_from, listener)
            task_status.started()
            await trio.sleep_forever()
        finally:
            loop.reserve.give_up()
    raise AssertionError("sleep_forever returned")


@attrs.define(eq=False)
class _Reserve:
    """A descriptor held back for the moment when there are no others."""

    _descriptor: int | None = attrs.field(factory=lambda: os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))

    def give_up(self) -> bool:
        """Free the descriptor; False when it is not there."""
        if self._descriptor is None:
            return False
        os.close(self._descriptor)
        self._descriptor = None
        return True

    def take(self) -> None:
        """Take it back, if the process can open one."""
        try:
            self._descriptor = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._descriptor = None


@attrs.define(eq=False)
class _AcceptLoop:
    handler: Handler
    name: str
    limiter: ConnectionLimiter
    tasks: trio.Nursery
    reserve: _Reserve
    budget: LogBudget = attrs.Factory(LogBudget)

    async def accept_from(self, listener: trio.abc.Listener[Any]) -> None:
        async with listener:
            while True:
                try:
                    stream = await listener.accept()
                except OSError as error:
                    await self._pause(listener, error)
                else:
                    await self._admit(stream)
                    for another in accept_waiting(listener):
                        await self._admit(another)

    async def _pause(self, listener: trio.abc.Listener[Any], error: OSError) -> None:
        if self.budget.allows(trio.current_time()):
            code = errno.errorcode.get(error.errno or 0, "?")
            _log.error("%s: cannot accept: %s (%s); refusing and pausing", self.name, error.strerror, code)
        if error.errno in _CAPACITY_ERRORS and self.reserve.give_up():
            try:
                with trio.move_on_after(ACCEPT_PAUSE_SECONDS):
                    await trio.aclose_forcefully(await listener.accept())
            except OSError:
                pass
            self.reserve.take()
        await trio.sleep(ACCEPT_PAUSE_SECONDS)

    async def _admit(self, stream: trio.abc.Stream) -> None:
        peer, local = connection_addresses(stream)
        now = trio.current_time()
        scope = trio.CancelScope(deadline=now + self.limiter.limits.handshake_deadline)
        try:
            admission = self.limiter.admit(host_of_peer(peer), now=now, cut=scope.cancel)
        except TooManyConnectionsError as refused:
            if self.budget.allows(now):
                _log.warning("%s: refused %s: %s", self.name, peer, refused)
            await trio.aclose_forcefully(stream)
            return
        self.tasks.start_soon(self._run, stream, (peer, local), admission, scope)

    async def _run(
        self, stream: trio.abc.Stream, ends: tuple[str, str], admission: Admission, scope: trio.CancelScope
    ) -> None:
        budgeted = BudgetedStream(stream, self.limiter.limits.preauth_bytes)

        def lift() -> None:
            scope.deadline = math.inf
            budgeted.lift()
            admission.established()

        def count_under(other_ip: str) -> str | None:
            try:
                admission.move(other_ip)
            except TooManyConnectionsError as refused:
                return str(refused)
            return None

        connection = Connection(
            PushbackStream(budgeted), *ends, self.name, lift, count_under, self.limiter.turns
        )
        try:
            # The wall is outside the scope: it also catches what a handler raises while it is cancelled.
            with scope:
                if isinstance(stream, trio.SocketStream):
                    tune_connection(stream)
                await self.handler(connection)
            if scope.cancelled_caught:
                self._note(connection, logging.INFO, "was not established in time", None)
        except* _PEER_WENT_AWAY as group:
            self._note(connection, logging.DEBUG, f"went away: {first_leaf(group)!r}", None)
        except* Exception as group:  # noqa: BLE001 - the error wall
            self._note(connection, logging.ERROR, "handler failed", group)
        finally:
            admission.release()
            await trio.aclose_forcefully(stream)

    def _note(self, connection: Connection, level: int, text: str, error: BaseException | None) -> None:
        if _log.isEnabledFor(level) and self.budget.allows(trio.current_time()):
            left_out = self.budget.take_left_out()
            _log.log(level, "%s: %s %s%s", self.name, connection.peer_address, text, left_out, exc_info=error)


def accept_waiting(listener: trio.abc.Listener[Any]) -> Iterator[trio.SocketStream]:
    """What else waits to be accepted, up to a limit, without letting other tasks run in between.

    ``listener.accept`` gives one connection each time all tasks have had their turn: on a busy hub the queue of the
    kernel would grow without end, and honest clients stand at its end.
    """
    if not isinstance(listener, trio.SocketListener):
        return
    # A twin of Trio's socket, which can only be asked with a checkpoint; it does not block either.
    try:
        twin = socket.socket(fileno=os.dup(listener.socket.fileno()))
    except OSError:
        return  # Out of descriptors: the next accept deals with that.
    with twin:
        for _ in range(ACCEPT_BURST):
            try:
                accepted, _address = twin.accept()
            except OSError:
                return  # Nobody waits, or the next accept says what is wrong.
            yield trio.SocketStream(trio.socket.from_stdlib_socket(accepted))


def host_of_peer(peer: str) -> str:
    """The address part of a peer as spelled by ``connection_addresses``."""
    return peer.rpartition(":")[0].strip("[]")


def first_leaf(group: BaseExceptionGroup[Any]) -> BaseException:
    """The first exception inside nested groups: the cause, for a one-line log."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
