# SPDX-License-Identifier: Apache-2.0
"""A Trio stream as the socket of a thread.

Theory of operation. paramiko wants a blocking socket and a thread of its own. A real socket pair with two
pump tasks works, but each byte is then copied through the kernel twice more; this object does without:

* *inbound*: a task receives from the stream into a deque, the thread's ``recv`` waits on a condition. When
  ``INBOUND_BYTES`` lie there unread the task stops receiving, so the peer feels the backpressure.
* *outbound*: ``send`` appends to a deque and never blocks, whoever calls it; a task writes to the stream. It
  must not block, because it runs below paramiko's write lock: two ends that both wait there wait for ever.
  The bound is kept above the lock instead: Trio tasks call :meth:`wait_writable` before they send channel
  data, and the thread stops *receiving* while more than ``reply_bytes`` have not left (a peer that asks and
  does not read).

Everything shared is guarded by one condition. Wake-ups towards Trio go through ``run_sync_soon``, idempotent,
so a burst of packets costs one. :meth:`close` may be called from either side and wakes everything.
"""

from __future__ import annotations

import threading
from collections import deque

import trio

from mezite.ssh.limits import SshLimits
from mezite.ssh.mailbox import TrioWaker

__all__ = ["ThreadBridge"]

#: Received bytes that wait for the thread: two of the largest reads below.
INBOUND_BYTES = 512 * 1024
#: One receive. Larger ones cost a memory mapping each.
RECEIVE_BYTES = 128 * 1024
#: One write to the stream.
WRITE_BYTES = 256 * 1024


class ThreadBridge:
    """The socket-like object of one connection. Make it in Trio, then :meth:`run` it."""

    def __init__(self, stream: trio.abc.Stream, wake: TrioWaker, limits: SshLimits) -> None:
        self._stream = stream
        self._outbound_limit = limits.outbound_bytes
        self._reply_limit = limits.reply_bytes
        self._flush_seconds = limits.flush_seconds
        self._wake = wake
        self._condition = threading.Condition(threading.Lock())
        self._timeout: float | None = None
        self._inbound: deque[bytes | bytearray] = deque()
        self._inbound_size = 0
        self._inbound_ended = False
        self._outbound: deque[bytes | bytearray] = deque()
        self._outbound_size = 0
        self._closed = False  # the name is read by paramiko's Transport.stop_thread
        self._reader_wakeup = trio.Event()
        self._writer_wakeup = trio.Event()
        self._writable = trio.lowlevel.ParkingLot()
        self._writer_scope = trio.CancelScope()
        self._reader_scope = trio.CancelScope()

    # ---- the socket, as the transport's thread sees it --------------------------------------------------

    def settimeout(self, seconds: float | None) -> None:
        """How long :meth:`recv` waits before it raises :exc:`TimeoutError`."""
        self._timeout = seconds

    def send(self, data: bytes | bytearray) -> int:
        """Queue all of ``data``; :exc:`EOFError` once closed. Never blocks. The data must not change
        afterwards.
        """
        with self._condition:
            if self._closed:
                raise EOFError
            self._outbound.append(data)
            self._outbound_size += len(data)
        self._wake(self._wake_writer)
        return len(data)

    def recv(self, max_bytes: int) -> bytes | bytearray:
        """The next bytes, at least one; empty at the peer's end of file.

        :exc:`EOFError` once closed, :exc:`TimeoutError` after the time-out. Blocks the calling thread.
        """
        with self._condition:
            while not self._receivable():
                if self._closed:
                    raise EOFError
                if not self._condition.wait(self._timeout):
                    raise TimeoutError
            if self._closed:
                raise EOFError
            if not self._inbound:
                return b""
            data = self._inbound.popleft()
            if len(data) > max_bytes:
                self._inbound.appendleft(data[max_bytes:])
                data = data[:max_bytes]
            was_full = self._inbound_size >= INBOUND_BYTES
            self._inbound_size -= len(data)
            resume = was_full and self._inbound_size < INBOUND_BYTES
        if resume:
            self._wake(self._wake_reader)
        return data

    def _receivable(self) -> bool:
        if self._outbound_size > self._reply_limit:
            return False
        return bool(self._inbound) or self._inbound_ended

    def close(self) -> None:
        """Nothing more is received; what was sent still leaves, for a short time. From any thread, any number
        of times.
        """
        with self._condition:
            if self._closed:
                return
            self._closed = True
            self._condition.notify_all()
        self._wake(self._on_close)

    # ---- the Trio side ----------------------------------------------------------------------------------

    @property
    def closed(self) -> bool:
        """Whether :meth:`close` has been called, by either side."""
        return self._closed

    @property
    def writable(self) -> bool:
        """Whether channel data may be sent now."""
        return self._outbound_size < self._outbound_limit

    async def wait_writable(self) -> None:
        """Wait until somebody calls :meth:`recheck_writable` or bytes have left; the caller looks again."""
        await self._writable.park()

    def recheck_writable(self) -> None:
        """Wake all who wait in :meth:`wait_writable`."""
        self._writable.unpark_all()

    async def run(self) -> None:
        """Move bytes until :meth:`close` and everything sent has left, or the stream breaks.

        Afterwards the bridge is closed, also when this is cancelled; then unsent bytes are lost. The stream
        stays the caller's.
        """
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._receive)
                await self._transmit()
                nursery.cancel_scope.cancel()
        finally:
            self.close()

    async def _receive(self) -> None:
        with self._reader_scope:
            try:
                while not self._closed:
                    data = await self._stream.receive_some(RECEIVE_BYTES)
                    if not data:
                        break
                    await self._take_in(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass
            with self._condition:
                self._inbound_ended = True
                self._condition.notify_all()

    async def _take_in(self, data: bytes | bytearray) -> None:
        with self._condition:
            self._inbound.append(data)
            self._inbound_size += len(data)
            full = self._inbound_size >= INBOUND_BYTES
            if full:
                self._reader_wakeup = trio.Event()
            self._condition.notify_all()
        if full:
            await self._reader_wakeup.wait()

    async def _transmit(self) -> None:
        with self._writer_scope:
            try:
                while True:
                    with self._condition:
                        batch = self._next_batch()
                        if not batch:
                            if self._closed:
                                return
                            self._writer_wakeup = trio.Event()
                    if batch:
                        await self._stream.send_all(batch)
                        self._sent(len(batch))
                    else:
                        await self._writer_wakeup.wait()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self.close()

    def _next_batch(self) -> bytes | bytearray:
        size = 0
        parts: list[bytes | bytearray] = []
        while self._outbound and size < WRITE_BYTES:
            parts.append(self._outbound.popleft())
            size += len(parts[-1])
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _sent(self, count: int) -> None:
        with self._condition:
            was_over = self._outbound_size > self._reply_limit
            self._outbound_size -= count
            if was_over and self._outbound_size <= self._reply_limit:
                self._condition.notify_all()
        if self.writable:
            self._writable.unpark_all()

    # ---- waking the other side --------------------------------------------------------------------------

    def _wake_reader(self) -> None:
        self._reader_wakeup.set()

    def _wake_writer(self) -> None:
        self._writer_wakeup.set()

    def _on_close(self) -> None:
        self._reader_scope.cancel()
        deadline = trio.current_time() + self._flush_seconds
        self._writer_scope.deadline = min(self._writer_scope.deadline, deadline)
        self._reader_wakeup.set()
        self._writer_wakeup.set()
        self._writable.unpark_all()
