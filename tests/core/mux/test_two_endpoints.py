# SPDX-License-Identifier: Apache-2.0
"""A model of two endpoints: whatever their applications do, in whatever order bytes travel, every byte
arrives once and in order, credit adds up, and nothing is ever a protocol error (threats B2, B3, B7)."""

import contextlib

import attrs
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from mezite.core.errors import LocalProtocolError
from mezite.core.mux.channel_table import TooManyChannelsError
from mezite.core.mux.connection import ChannelHeader, MuxConnection, Side
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.mux.events import (
    ChannelAccepted,
    ChannelClosed,
    ChannelOpened,
    ChannelRejected,
    ChannelReset,
    ConnectionClosed,
    DataReceived,
    EofReceived,
    Event,
    SendBufferSpace,
)
from mezite.testing.mux_pair import drain_events
from mezite.testing.strategies.mux import SMALL_LIMITS

LIMITS = attrs.evolve(SMALL_LIMITS, connection_window=10_000)
"""Fewer bytes than the windows of all channels together, so that both levels of credit bind."""
SIDES = st.sampled_from([0, 1])
PICK = st.integers(0, 100)


@attrs.define(eq=False)
class Half:
    """What one application knows of one channel."""

    state: str
    """opening, offered, open, closing (by close_channel), over."""
    sent: bytearray = attrs.field(factory=bytearray)
    received: bytearray = attrs.field(factory=bytearray)
    unread: int = 0
    eof_sent: bool = False
    eof_received: bool = False
    blocked: bool = False
    cut_short: bool = False
    """We reset, or stopped reading: what the peer sent need not arrive."""


class TwoEndpoints(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.ends = [MuxConnection(Side.DIALER, LIMITS), MuxConnection(Side.ACCEPTER, LIMITS)]
        self.wires = [bytearray(), bytearray()]
        self.halves: list[dict[int, Half]] = [{}, {}]
        self.serial = 0

    def pick(self, side: int, number: int, *states: str) -> tuple[int, Half] | None:
        found = [item for item in self.halves[side].items() if item[1].state in states]
        return found[number % len(found)] if found else None

    @initialize(counts=st.tuples(st.integers(0, 2), st.integers(0, 2)))
    def begin(self, counts: tuple[int, int]) -> None:
        """Some channels are open already: the longer life is the more interesting one."""
        for side in (0, 1):
            for _ in range(counts[side]):
                self.open(side)
        self.travel()
        for side in (0, 1):
            for number in range(counts[1 - side]):
                self.answer(side, number, True)
        self.travel()

    # What applications do

    @rule(side=SIDES)
    def open(self, side: int) -> None:
        with contextlib.suppress(TooManyChannelsError):
            channel_id = self.ends[side].open_channel(ChannelHeader(kind="k"))
            self.halves[side][channel_id] = Half("opening")

    @rule(side=SIDES, number=PICK, accept=st.sampled_from([True, True, True, False]))
    def answer(self, side: int, number: int, accept: bool) -> None:
        if picked := self.pick(side, number, "offered"):
            channel_id, half = picked
            if accept:
                self.ends[side].accept_channel(channel_id)
                half.state = "open"
            else:
                self.ends[side].reject_channel(channel_id, ErrorCode.REFUSED, "no")
                half.state = "over"

    @rule(side=SIDES, number=PICK, size=st.integers(0, 10_000))
    def send(self, side: int, number: int, size: int) -> None:
        if picked := self.pick(side, number, "open"):
            channel_id, half = picked
            self.serial += 1
            data = bytes((self.serial + at // 50) % 256 for at in range(size))
            if half.eof_sent:
                with contextlib.suppress(LocalProtocolError):
                    self.ends[side].send_data(channel_id, data)
                    raise AssertionError("data after EOF was taken")
                return
            taken = self.ends[side].send_data(channel_id, data)
            half.sent += data[:taken]
            half.blocked = half.blocked or taken < size

    @rule(side=SIDES, number=PICK)
    def end(self, side: int, number: int) -> None:
        picked = self.pick(side, number, "open")
        if picked and not picked[1].eof_sent:
            self.ends[side].send_eof(picked[0])
            picked[1].eof_sent = True

    @rule(side=SIDES, number=PICK, share=st.floats(0, 1))
    def consume(self, side: int, number: int, share: float) -> None:
        found = [item for item in self.halves[side].items() if item[1].unread]
        if found:
            channel_id, half = found[number % len(found)]
            count = max(1, int(half.unread * share))
            self.ends[side].consume(channel_id, count)
            half.unread -= count

    @rule(side=SIDES, number=PICK, hard=st.booleans())
    def stop(self, side: int, number: int, hard: bool) -> None:
        if picked := self.pick(side, number, "open"):
            channel_id, half = picked
            half.cut_short, half.unread = True, 0
            if hard:
                self.ends[side].reset_channel(channel_id, ErrorCode.CANCELLED, "")
                half.state = "over"
            else:
                half.state, half.eof_sent = "closing", True
                self.ends[side].close_channel(channel_id)

    @rule(side=SIDES, number=PICK)
    def withdraw(self, side: int, number: int) -> None:
        if picked := self.pick(side, number, "opening"):
            self.ends[side].reset_channel(picked[0], ErrorCode.CANCELLED, "")
            picked[1].state = "over"

    @rule(side=SIDES)
    def ping(self, side: int) -> None:
        with contextlib.suppress(LocalProtocolError):
            self.ends[side].send_ping()

    # What the wire does

    @rule(side=SIDES, room=st.integers(8192, 40_000))
    def transmit(self, side: int, room: int) -> None:
        data = self.ends[side].data_to_send(room)
        assert len(data) <= room
        self.wires[side] += data
        self.note(side, drain_events(self.ends[side]))

    @rule(side=SIDES, size=st.integers(1, 20_000))
    def arrive(self, side: int, size: int) -> None:
        """Bytes that ``side`` sent reach the other one."""
        data = bytes(self.wires[side][:size])
        del self.wires[side][:size]
        self.ends[1 - side].receive_data(data)
        self.note(1 - side, drain_events(self.ends[1 - side]))

    @rule()
    def travel(self) -> None:
        """Everything that is on its way, or may be, arrives."""
        for side in (0, 1):
            while self.ends[side].has_data_to_send:
                self.transmit(side, 40_000)
        for side in (0, 1):
            while self.wires[side]:
                self.arrive(side, 20_000)

    def note(self, side: int, events: list[Event]) -> None:
        halves = self.halves[side]
        for event in events:
            assert not isinstance(event, ConnectionClosed), event
            if isinstance(event, ChannelOpened):
                halves[event.channel_id] = Half("offered")
            elif isinstance(event, ChannelAccepted):
                self.move(halves[event.channel_id], "opening", "open")
            elif isinstance(event, ChannelRejected):
                self.move(halves[event.channel_id], "opening", "over")
            elif isinstance(event, ChannelReset):
                half = halves[event.channel_id]
                assert half.state in ("offered", "open")
                assert event.after_eof == half.eof_received
                if not event.after_eof:
                    half.cut_short, half.unread = True, 0
                half.state = "over"
            elif isinstance(event, ChannelClosed):
                assert halves[event.channel_id].eof_sent
                halves[event.channel_id].state = "over"
            else:
                self.note_data(side, event)

    def note_data(self, side: int, event: Event) -> None:
        halves = self.halves[side]
        if isinstance(event, DataReceived):
            half = halves[event.channel_id]
            assert half.state == "open"
            assert not half.eof_received
            half.received += event.data
            half.unread += len(event.data)
            theirs = self.halves[1 - side][event.channel_id].sent
            assert theirs[: len(half.received)] == half.received
        elif isinstance(event, EofReceived):
            half = halves[event.channel_id]
            assert half.received == self.halves[1 - side][event.channel_id].sent
            half.eof_received = True
        elif isinstance(event, SendBufferSpace):
            assert halves[event.channel_id].blocked
            halves[event.channel_id].blocked = False

    @staticmethod
    def move(half: Half, before: str, after: str) -> None:
        assert half.state == before
        half.state = after

    # What always holds

    @invariant()
    def limits_hold(self) -> None:
        for side in (0, 1):
            numbers = self.ends[side].statistics()
            unread = sum(half.unread for half in self.halves[side].values())
            assert unread == numbers.unconsumed <= LIMITS.connection_window
            assert 0 <= numbers.channels_ours <= LIMITS.max_channels
            assert 0 <= numbers.channels_theirs <= LIMITS.max_channels
            assert 0 <= numbers.unsent <= LIMITS.connection_send_buffer

    def teardown(self) -> None:
        """Readers read on, bytes travel on: everything that was sent and not cut short arrives."""
        moved = True
        while moved:
            moved = False
            for side in (0, 1):
                for channel_id, half in self.halves[side].items():
                    if half.unread:
                        self.ends[side].consume(channel_id, half.unread)
                        half.unread = 0
                while self.ends[side].has_data_to_send:
                    self.transmit(side, 40_000)
                while self.wires[side]:
                    self.arrive(side, 20_000)
                    moved = True
        self.limits_hold()
        for side in (0, 1):
            for channel_id, half in self.halves[side].items():
                theirs = self.halves[1 - side].get(channel_id)
                assert not half.blocked or half.state == "over"
                if theirs is not None and not half.cut_short and not theirs.cut_short:
                    assert half.received == theirs.sent
                    assert half.eof_received == theirs.eof_sent
        open_now = [
            sum(half.state in ("opening", "offered", "open") for half in each.values())
            for each in self.halves
        ]
        for side in (0, 1):
            numbers = self.ends[side].statistics()
            still = open_now[side] - sum(
                half.state == "open" and half.eof_sent and half.eof_received
                for half in self.halves[side].values()
            )
            assert numbers.channels_ours + numbers.channels_theirs == still
            assert numbers.unsent == 0


TestTwoEndpoints = TwoEndpoints.TestCase
TestTwoEndpoints.settings = settings(max_examples=60, stateful_step_count=50)
