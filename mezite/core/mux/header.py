# SPDX-License-Identifier: Apache-2.0
"""What an opener says about a channel; docs/mux-protocol.md, section Opening a channel."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

import attrs

from mezite.core.errors import LocalProtocolError, RemoteProtocolError
from mezite.core.mux.error_codes import ErrorCode

__all__ = ["MAX_HEADER", "ChannelHeader", "decode_header", "encode_header"]

MAX_HEADER: Final = 4096
"""Names, an address, an id and a few decision attributes fit many times; 1,024 of them are 4 MiB."""

KIND, TARGET, USER, CLIENT_ADDRESS, TRACE_ID, DEADLINE, HOPS, ATTRIBUTE = range(1, 9)
TEXT_FIELDS: Final = {
    KIND: "kind",
    TARGET: "target",
    USER: "user",
    CLIENT_ADDRESS: "client_address",
    TRACE_ID: "trace_id",
}
NUMBER_FIELDS: Final = {DEADLINE: ("deadline_ms", 4), HOPS: ("hops", 1)}


def freeze(attributes: Mapping[str, str]) -> Mapping[str, str]:
    """A copy that nobody can change."""
    return MappingProxyType(dict(attributes))


@attrs.frozen(kw_only=True)
class ChannelHeader:
    """The typed header of OPEN. Everything but ``attributes`` values is one line of printable text."""

    kind: str
    """What the receiver connects the channel to: ``ssh``, ``tcp``, ``http`` …"""
    target: str = ""
    """Node or application name; empty means the receiver itself."""
    user: str = ""
    client_address: str = ""
    """``ip:port`` of the user's connection, as the first hub saw it."""
    trace_id: str = ""
    deadline_ms: int = 0
    """How long the opener waits for the answer; 0 means it does not say."""
    hops: int = 0
    """Hubs crossed so far."""
    attributes: Mapping[str, str] = attrs.field(factory=dict, converter=freeze, hash=False)
    """Small data of the decision that allowed this channel."""


def encode_header(header: ChannelHeader) -> bytes:
    """The one encoding of ``header``.

    Raises LocalProtocolError when it has none: no kind, text that is not printable, a number out of range, or
    more than 4 KiB.
    """
    encoded = bytearray()
    for tag, name in TEXT_FIELDS.items():
        text: str = getattr(header, name)
        if text:
            encoded += field(tag, printable(text))
    for tag, (name, size) in NUMBER_FIELDS.items():
        number: int = getattr(header, name)
        if not 0 <= number < 1 << (8 * size):
            raise LocalProtocolError(f"channel header: {name} does not fit")
        if number:
            encoded += field(tag, number.to_bytes(size))
    for key, value in sorted((printable(key), value) for key, value in header.attributes.items()):
        if not 0 < len(key) < 256:
            raise LocalProtocolError("channel header: attribute keys have 1 to 255 bytes")
        encoded += field(ATTRIBUTE, bytes([len(key)]) + key + value.encode())
    if not header.kind or len(encoded) > MAX_HEADER:
        raise LocalProtocolError(f"channel header: no kind, or {len(encoded)} of {MAX_HEADER} bytes")
    return bytes(encoded)


def field(tag: int, value: bytes) -> bytes:
    """One tagged field; too long a value makes the whole too long, so the cut length is never sent."""
    return bytes([tag]) + (len(value) & 0xFFFF).to_bytes(2) + value


def printable(text: str) -> bytes:
    if not text.isprintable():
        raise LocalProtocolError("channel header: text must be printable")
    return text.encode()


def decode_header(payload: bytes) -> ChannelHeader:
    """The header in an OPEN payload.

    Raises RemoteProtocolError (FRAME_ERROR) unless ``encode_header`` gives exactly ``payload`` for it.
    """
    values: dict[str, str | int] = {}
    attributes: dict[str, str] = {}
    for tag, value in fields(payload):
        if tag in TEXT_FIELDS:
            values[TEXT_FIELDS[tag]] = text_of(value)
        elif tag in NUMBER_FIELDS:
            values[NUMBER_FIELDS[tag][0]] = int.from_bytes(value)
        elif tag == ATTRIBUTE and value:
            key_end = 1 + value[0]
            attributes[text_of(value[1:key_end])] = text_of(value[key_end:], printable_only=False)
        else:
            raise malformed("unknown field")
    if "kind" not in values:
        raise malformed("no kind")
    header = ChannelHeader(**values, attributes=attributes)  # type: ignore[arg-type]
    try:
        canonical = encode_header(header) == payload
    except LocalProtocolError:
        canonical = False
    if not canonical:
        raise malformed("not in canonical form")
    return header


def fields(payload: bytes) -> Iterator[tuple[int, bytes]]:
    """The tagged fields in turn; raises RemoteProtocolError where one is cut off."""
    position = 0
    while position < len(payload):
        start = position + 3
        position = start + int.from_bytes(payload[position + 1 : start])
        if start > len(payload) or position > len(payload):
            raise malformed("a field is cut off")
        yield payload[start - 3], payload[start:position]


def text_of(value: bytes, *, printable_only: bool = True) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise malformed("text is not UTF-8") from None
    if printable_only and not text.isprintable():
        raise malformed("text is not printable")
    return text


def malformed(what: str) -> RemoteProtocolError:
    return RemoteProtocolError(f"channel header: {what}", ErrorCode.FRAME_ERROR)
