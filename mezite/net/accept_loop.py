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
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NoReturn

import attrs
import trio

from .addresses import connection_addresses
from .byte_streams import PushbackStream
from .connection_limits import BudgetedStream, BudgetExceededError, ConnectionLimiter
from .socket_options import tune_connection

__all__ = ["Connection", "Handler", "serve_connections"]

_log = logging.getLogger("mezite.net.accept")

#: Pause after a failed accept (seconds): long enough not to spin, short against a client's patience.
ACCEPT_PAUSE_SECONDS = 0.1

#: At most this many log records per listener and interval; the rest is counted (threat P15).
LOG_BURST = 20
LOG_INTERVAL_SECONDS = 10.0

_CAPACITY_ERRORS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

#: What a peer that goes away looks like from inside a handler: worth a debug line, not a traceback.
_PEER_WENT_AWAY = (trio.BrokenResourceError, trio.ClosedResourceError, ConnectionError, BudgetExceededError)


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
        )
        inner.client_address = self.client_address
        return inner

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
class _LogBudget:
    """A bounded number of records per interval."""

    _window_start: float = -math.inf
    _used: int = 0
    _skipped: int = 0

    def allows(self, now: float) -> bool:
        if now - self._window_start >= LOG_INTERVAL_SECONDS:
            self._window_start = now
            self._used = 0
        self._used += 1
        if self._used > LOG_BURST:
            self._skipped += 1
            return False
        return True

    def take_skipped(self) -> int:
        skipped, self._skipped = self._skipped, 0
        return skipped


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
    budget: _LogBudget = attrs.Factory(_LogBudget)

    async def accept_from(self, listener: trio.abc.Listener[Any]) -> None:
        async with listener:
            while True:
                try:
                    stream = await listener.accept()
                except OSError as error:
                    await self._pause(listener, error)
                else:
                    await self._admit(stream)

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
        client_ip = host_of_peer(peer)
        reason = self.limiter.admit(client_ip)
        if reason is not None:
            if self.budget.allows(trio.current_time()):
                _log.warning("%s: refused %s: %s", self.name, peer, reason)
            await trio.aclose_forcefully(stream)
            return
        self.tasks.start_soon(self._run, stream, peer, local, client_ip)

    async def _run(self, stream: trio.abc.Stream, peer: str, local: str, client_ip: str) -> None:
        limits = self.limiter.limits
        counted = client_ip
        budgeted = BudgetedStream(stream, limits.preauth_bytes)
        scope = trio.CancelScope(deadline=trio.current_time() + limits.handshake_deadline)
        established = False

        def lift() -> None:
            nonlocal established
            if not established:
                established = True
                scope.deadline = math.inf
                budgeted.lift()
                self.limiter.established()

        def count_under(other_ip: str) -> str | None:
            nonlocal counted
            reason = self.limiter.move(counted, other_ip)
            if reason is None:
                counted = other_ip
            return reason

        connection = Connection(PushbackStream(budgeted), peer, local, self.name, lift, count_under)
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
            self.limiter.release(counted, was_established=established)
            await trio.aclose_forcefully(stream)

    def _note(self, connection: Connection, level: int, text: str, error: BaseException | None) -> None:
        if _log.isEnabledFor(level) and self.budget.allows(trio.current_time()):
            skipped = self.budget.take_skipped()
            more = f" ({skipped} like records left out)" if skipped else ""
            _log.log(level, "%s: %s %s%s", self.name, connection.peer_address, text, more, exc_info=error)


def host_of_peer(peer: str) -> str:
    """The address part of a peer as spelled by ``connection_addresses``."""
    return peer.rpartition(":")[0].strip("[]")


def first_leaf(group: BaseExceptionGroup[Any]) -> BaseException:
    """The first exception inside nested groups: the cause, for a one-line log."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
