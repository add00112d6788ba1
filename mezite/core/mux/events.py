# SPDX-License-Identifier: Apache-2.0
"""What ``MuxConnection.next_event`` returns."""

from typing import Final

import attrs

from mezite.core.errors import RemoteProtocolError
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.mux.header import ChannelHeader

__all__ = [
    "NEED_DATA",
    "ChannelAccepted",
    "ChannelClosed",
    "ChannelOpened",
    "ChannelRejected",
    "ChannelReset",
    "ConnectionClosed",
    "ConnectionReady",
    "DataReceived",
    "EofReceived",
    "Event",
    "GoAwayReceived",
    "NeedData",
    "PongReceived",
    "SendBufferSpace",
]


class NeedData:
    """Type of the one value NEED_DATA: nothing more to report until ``receive_data`` or ``receive_eof``."""

    def __repr__(self) -> str:
        return "NEED_DATA"


NEED_DATA: Final = NeedData()


@attrs.frozen
class ConnectionReady:
    """The peer's settings arrived: it speaks this protocol, and frames flow."""

    version: int


@attrs.frozen
class ChannelOpened:
    """The peer offers a channel: answer with ``accept_channel`` or ``reject_channel``."""

    channel_id: int
    header: ChannelHeader


@attrs.frozen
class ChannelAccepted:
    """The peer accepted a channel of ours: data may flow."""

    channel_id: int


@attrs.frozen(kw_only=True)
class ChannelRejected:
    """The peer refused a channel of ours; the id is done with."""

    channel_id: int
    code: ErrorCode
    text: str


@attrs.frozen
class DataReceived:
    """Bytes of a channel; say ``consume`` when the application has taken them. A frame may come as several."""

    channel_id: int
    data: bytes


@attrs.frozen
class EofReceived:
    """The peer sends no more on this channel."""

    channel_id: int


@attrs.frozen(kw_only=True)
class ChannelReset:
    """The peer ended the channel at once; the id is done with.

    When ``after_eof``, all its data had arrived: what is unread stays readable and is consumed as usual.
    Otherwise unread data must be dropped; its credit has gone back already.
    """

    channel_id: int
    code: ErrorCode
    text: str
    after_eof: bool


@attrs.frozen
class ChannelClosed:
    """All was sent, and both directions have ended or ``close_channel`` has ended them.

    The id is done with, apart from consuming what is unread.
    """

    channel_id: int


@attrs.frozen
class SendBufferSpace:
    """``send_data`` took less than all before, and now would take more."""

    channel_id: int


@attrs.frozen
class PongReceived:
    """The PING with this token came back."""

    token: int


@attrs.frozen(kw_only=True)
class GoAwayReceived:
    """The peer accepts no more channels from us."""

    last_channel: int
    retry_after_ms: int
    """How long to stay away; 0 when it does not say."""
    code: ErrorCode
    text: str


@attrs.frozen
class ConnectionClosed:
    """The end, returned again and again. ``error`` is None when both sides were done.

    When the peer broke the rules ``data_to_send`` has a last GOAWAY for it; after that, close the stream.
    """

    error: RemoteProtocolError | None


Event = (
    ConnectionReady
    | ChannelOpened
    | ChannelAccepted
    | ChannelRejected
    | DataReceived
    | EofReceived
    | ChannelReset
    | ChannelClosed
    | SendBufferSpace
    | PongReceived
    | GoAwayReceived
    | ConnectionClosed
)
