# SPDX-License-Identifier: Apache-2.0
"""A network in memory: listen and dial by address, with partitions, crashes, resets and latency.

Streams behave like TCP between hosts: bytes arrive whole, in order and once, or not at all; buffers are
bounded, so a sender feels a receiver that does not read; a partition is silent, and nobody learns of it until
something times out; after a host crashed silently its peers keep a half-open connection until they hear from
the reborn host. Everything is deterministic under ``mezite.testing.deterministic``.
"""

from __future__ import annotations

import math
from collections import deque

import attrs
import trio

from mezite.net.addresses import host_of, join_host_port
from mezite.net.byte_streams import receive_limit
from mezite.net.conflict_detector import ConflictDetector

__all__ = ["MemoryListener", "MemoryNetwork", "MemoryStream"]

#: Bytes in flight per direction before a sender waits; about what a kernel buffers for a fresh connection.
PIPE_BYTES = 128 * 1024

#: Connections that wait to be accepted per listener, then dials are refused.
BACKLOG = 4096


class MemoryNetwork:
    """Hosts are names; an address is ``host:port``. ``latency`` is the one-way delay in seconds."""

    def __init__(self, *, latency: float = 0.0) -> None:
        self.latency = latency
        self._listeners: dict[str, MemoryListener] = {}
        self._cuts: set[frozenset[str]] = set()
        self._links: dict[_Link, None] = {}
        self._next_port = 40_000
        self._healed = trio.Event()

    def listen(self, address: str) -> MemoryListener:
        """Listen on ``host:port``; :exc:`OSError` when somebody does already."""
        if address in self._listeners:
            raise OSError(f"{address} is in use")
        listener = MemoryListener(self, address)
        self._listeners[address] = listener
        return listener

    async def dial(self, address: str, *, source: str = "client") -> MemoryStream:
        """Connect from host ``source``; :exc:`OSError` when nobody listens. Blocks during a partition."""
        while self.is_cut(source, host_of(address)):
            await self._healed.wait()
        await trio.sleep(self.latency)
        listener = self._listeners.get(address)
        if listener is None or not listener.offer_nowait():
            raise ConnectionRefusedError(f"nobody listens on {address}")
        self._next_port += 1
        link = _Link(self, join_host_port(source, self._next_port), address)
        self._links[link] = None
        listener.deliver(link.accepting_end)
        return link.dialling_end

    def cut(self, a: str, b: str) -> None:
        """Partition two hosts: bytes between them stop, silently, until :meth:`heal`."""
        self._cuts.add(frozenset((a, b)))

    def heal(self) -> None:
        """End all partitions; what was in flight arrives."""
        self._cuts.clear()
        self._healed.set()
        self._healed = trio.Event()
        for link in self._links:
            link.wake()

    def is_cut(self, a: str, b: str) -> bool:
        """Whether bytes between the hosts are stopped."""
        return frozenset((a, b)) in self._cuts

    def reset_links(self, host: str) -> int:
        """Reset every connection of ``host``: both ends see an error at once. Returns how many."""
        links = self._links_of(host)
        for link in links:
            link.reset()
        return len(links)

    def vanish(self, host: str) -> int:
        """``host`` loses power: its ends die, its peers keep half-open connections. Returns how many.

        A peer's data is swallowed until its buffer is full, then its sends block; nothing ever arrives.
        """
        links = self._links_of(host)
        for link in links:
            link.half_open(host)
        return len(links)

    def _links_of(self, host: str) -> list[_Link]:
        return [link for link in self._links if host in link.hosts]

    def forget_link(self, link: _Link) -> None:
        """Both ends are closed."""
        self._links.pop(link, None)

    def forget_listener(self, address: str) -> None:
        """The listener is closed."""
        self._listeners.pop(address, None)

    @property
    def open_links(self) -> int:
        """Connections of which an end is still open: zero when everything was cleaned up."""
        return len(self._links)


class MemoryListener(trio.abc.Listener["MemoryStream"]):
    """Made by :meth:`MemoryNetwork.listen`."""

    def __init__(self, network: MemoryNetwork, address: str) -> None:
        self._network = network
        self.address = address
        self._waiting: deque[MemoryStream] = deque()
        self._arrived = trio.Event()
        self._closed = False

    def offer_nowait(self) -> bool:
        """Whether there is room for one more connection."""
        return not self._closed and len(self._waiting) < BACKLOG

    def deliver(self, stream: MemoryStream) -> None:
        """Queue a connection for :meth:`accept`."""
        self._waiting.append(stream)
        self._arrived.set()

    async def accept(self) -> MemoryStream:
        """The next connection."""
        await trio.lowlevel.checkpoint()
        while not self._waiting:
            if self._closed:
                raise trio.ClosedResourceError("listener was closed")
            self._arrived = trio.Event()
            await self._arrived.wait()
        return self._waiting.popleft()

    async def aclose(self) -> None:
        """Stop listening; connections nobody accepted are reset."""
        self._closed = True
        self._network.forget_listener(self.address)
        self._arrived.set()
        while self._waiting:
            await trio.aclose_forcefully(self._waiting.popleft())
        await trio.lowlevel.checkpoint()


class MemoryStream(trio.abc.HalfCloseableStream):
    """One end of a connection."""

    def __init__(self, link: _Link, incoming: _Pipe, outgoing: _Pipe, *, peer: str, local: str) -> None:
        self._link = link
        self._incoming = incoming
        self._outgoing = outgoing
        self.peer_address = peer
        self.local_address = local
        self.closed = False
        self._eof_sent = False
        self._sending = ConflictDetector("another task is sending")
        self._receiving = ConflictDetector("another task is receiving")

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """As ``trio.SocketStream``."""
        limit = receive_limit(max_bytes, 65536)
        with self._receiving:
            await trio.lowlevel.checkpoint()
            while True:
                self._check_open()
                if (data := self._incoming.take_nowait(limit)) is not None:
                    return data
                await self._incoming.wait_readable()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """As ``trio.SocketStream``: cancelled, an unknown prefix was sent."""
        with self._sending:
            await trio.lowlevel.checkpoint()
            self._check_sendable()
            view = memoryview(bytes(data))
            while view:
                taken = self._outgoing.put_nowait(view)
                view = view[taken:]
                if view:
                    await self._outgoing.wait_writable()
                    self._check_sendable()

    async def wait_send_all_might_not_block(self) -> None:
        """Wait until the buffer has room."""
        with self._sending:
            await trio.lowlevel.checkpoint()
            self._check_sendable()
            while self._outgoing.is_full:
                await self._outgoing.wait_writable()
                self._check_sendable()

    async def send_eof(self) -> None:
        """Half-close."""
        with self._sending:
            await trio.lowlevel.checkpoint()
            self._check_open()
            self._eof_sent = True
            self._outgoing.put_eof()

    async def aclose(self) -> None:
        """Close; the peer reads what was sent and then the end, its sends fail."""
        if not self.closed:
            self.closed = True
            self._outgoing.put_eof()
            self._incoming.close_reader()
            self._link.note_closed()
        await trio.lowlevel.checkpoint()

    def _check_open(self) -> None:
        if self.closed:
            raise trio.ClosedResourceError("stream was closed here")

    def _check_sendable(self) -> None:
        self._check_open()
        if self._eof_sent:
            raise trio.ClosedResourceError("EOF was sent")
        self._outgoing.check_writable()


class _Pipe:
    """One direction. Chunks become readable when the latency has passed and no partition is in the way."""

    def __init__(self, link: _Link) -> None:
        self._link = link
        self._chunks: deque[tuple[float, memoryview]] = deque()
        self._size = 0
        self._eof_at = math.inf
        self._reader_gone = False
        self._broken = False
        self._changed = trio.Event()

    @property
    def is_full(self) -> bool:
        return self._size >= PIPE_BYTES

    def put_nowait(self, data: memoryview) -> int:
        piece = data[: max(0, PIPE_BYTES - self._size)]
        if piece:
            self._chunks.append((self._arrival(), piece))
            self._size += len(piece)
            self.wake()
        return len(piece)

    def take_nowait(self, limit: int) -> bytes | None:
        """Readable bytes, empty at the end, None when there is nothing yet."""
        if self._broken:
            raise trio.BrokenResourceError("connection reset")
        if self._link.is_blocked:
            return None
        now = trio.current_time()
        if self._chunks:
            ready, piece = self._chunks[0]
            if ready > now:
                return None
            if len(piece) > limit:
                self._chunks[0] = ready, piece[limit:]
            else:
                self._chunks.popleft()
            self._size -= min(len(piece), limit)
            self.wake()
            return bytes(piece[:limit])
        return b"" if self._eof_at <= now else None

    async def wait_readable(self) -> None:
        """Wait until something may have changed for the reader."""
        ready = self._chunks[0][0] if self._chunks else self._eof_at
        if self._link.is_blocked:
            ready = math.inf
        changed = self._changed
        with trio.move_on_at(ready):
            await changed.wait()

    async def wait_writable(self) -> None:
        """Wait until something may have changed for the writer."""
        await self._changed.wait()

    def check_writable(self) -> None:
        if self._broken or (self._reader_gone and not self._link.is_blocked):
            raise trio.BrokenResourceError("the peer closed the connection")

    def put_eof(self) -> None:
        if self._eof_at == math.inf:
            self._eof_at = self._arrival()
            self.wake()

    def close_reader(self) -> None:
        self._reader_gone = True
        self._chunks.clear()
        self._size = 0
        self.wake()

    def break_now(self) -> None:
        self._broken = True
        self.wake()

    def wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _arrival(self) -> float:
        return trio.current_time() + self._link.latency


@attrs.define(eq=False, init=False)
class _Link:
    """A connection: two pipes, two ends."""

    hosts: frozenset[str]
    dialling_end: MemoryStream
    accepting_end: MemoryStream
    _network: MemoryNetwork
    _pipes: tuple[_Pipe, _Pipe]
    _silenced: bool

    def __init__(self, network: MemoryNetwork, source: str, target: str) -> None:
        self._network = network
        self.hosts = frozenset((source.rpartition(":")[0], target.rpartition(":")[0]))
        there, back = _Pipe(self), _Pipe(self)
        self._pipes = (there, back)
        self._silenced = False
        self.dialling_end = MemoryStream(self, back, there, peer=target, local=source)
        self.accepting_end = MemoryStream(self, there, back, peer=source, local=target)

    @property
    def latency(self) -> float:
        return self._network.latency

    @property
    def is_blocked(self) -> bool:
        return self._silenced or (len(self.hosts) == 2 and self._network.is_cut(*self.hosts))

    def wake(self) -> None:
        for pipe in self._pipes:
            pipe.wake()

    def reset(self) -> None:
        for pipe in self._pipes:
            pipe.break_now()

    def half_open(self, dead_host: str) -> None:
        """The end at ``dead_host`` dies with its host, the other learns nothing."""
        self._silenced = True
        for end in (self.dialling_end, self.accepting_end):
            if end.local_address.rpartition(":")[0] == dead_host:
                end.closed = True
        self.wake()
        self.note_closed()

    def note_closed(self) -> None:
        if self.dialling_end.closed and self.accepting_end.closed:
            self._network.forget_link(self)
