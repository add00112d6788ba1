# SPDX-License-Identifier: Apache-2.0
"""Call metadata: the fields of ours and the application's that travel beside the messages.

A name that ends in ``-bin`` carries bytes, base64 on the wire; every other name carries printable ASCII.
(gRPC over HTTP/2, "Custom-Metadata".)
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator

import attrs

from mezite.core.errors import LocalProtocolError, RemoteProtocolError
from mezite.core.grpc.status import Header, StatusCode

__all__ = ["Metadata", "MetadataItem", "MetadataValue", "decode_metadata", "encode_metadata"]

MetadataValue = str | bytes
MetadataItem = tuple[str, MetadataValue]

_NAME = re.compile(r"[0-9a-z_.-]+")
_VALUE = re.compile(r"[\x20-\x7e]*")
_RESERVED_PREFIX = "grpc-"
_SERVER_PUSHBACK = "grpc-retry-pushback-ms"
"""The one ``grpc-`` field that a service sets itself: when to try again (gRPC proposal A6)."""
_TRANSPORT_NAMES = frozenset({"content-type", "te", "user-agent", "host", "connection"})


@attrs.frozen
class Metadata:
    """An ordered list of name and value, names in lower case and possibly repeated."""

    items: tuple[MetadataItem, ...] = ()

    def __iter__(self) -> Iterator[MetadataItem]:
        return iter(self.items)

    def get(self, name: str) -> str | None:
        """The first text value of that name; None when there is none or it is a ``-bin`` name."""
        for key, value in self.items:
            if key == name and isinstance(value, str):
                return value
        return None

    def get_bytes(self, name: str) -> bytes | None:
        """The first value of that ``-bin`` name."""
        for key, value in self.items:
            if key == name and isinstance(value, bytes):
                return value
        return None

    def get_all(self, name: str) -> list[MetadataValue]:
        """Every value of that name, in order."""
        return [value for key, value in self.items if key == name]


def _encode_value(name: str, value: MetadataValue) -> bytes:
    if isinstance(value, bytes):
        if not name.endswith("-bin"):
            raise LocalProtocolError(f"metadata {name}: bytes need a name that ends in -bin")
        return base64.b64encode(value).rstrip(b"=")
    if name.endswith("-bin"):
        raise LocalProtocolError(f"metadata {name}: a -bin name needs bytes")
    if not _VALUE.fullmatch(value) or value != value.strip(" "):
        raise LocalProtocolError(f"metadata {name}: only printable ASCII without outer spaces")
    return value.encode("ascii")


def encode_metadata(items: Iterable[MetadataItem]) -> list[Header]:
    """Metadata of ours as HTTP/2 fields, in order.

    Raises LocalProtocolError for a name that is not lower-case ``[0-9a-z_.-]``, that begins with ``grpc-``
    (but for the server's pushback) or that belongs to the transport, and for a value its name cannot carry.
    Line breaks can therefore not get through.
    """
    headers: list[Header] = []
    for name, value in items:
        reserved = name.startswith(_RESERVED_PREFIX) or name in _TRANSPORT_NAMES
        if (reserved and name != _SERVER_PUSHBACK) or not _NAME.fullmatch(name):
            raise LocalProtocolError(f"metadata name {name!r} is reserved or malformed")
        headers.append((name.encode("ascii"), _encode_value(name, value)))
    return headers


def _decode_binary(name: str, value: bytes) -> Iterator[MetadataItem]:
    # Intermediaries may join repeated fields with commas, and senders may leave the padding out.
    for part in value.split(b","):
        text = part.strip(b" ").rstrip(b"=")
        try:
            yield name, base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)
        except binascii.Error as error:
            raise RemoteProtocolError(f"metadata {name} is not base64", StatusCode.INTERNAL) from error


def _decode_field(name: bytes, value: bytes) -> Iterator[MetadataItem]:
    text_name = name.decode("latin-1")
    if not _NAME.fullmatch(text_name):
        raise RemoteProtocolError("a metadata name is malformed", StatusCode.INTERNAL)
    if text_name.endswith("-bin"):
        yield from _decode_binary(text_name, value)
        return
    text = value.decode("latin-1")
    if not _VALUE.fullmatch(text):
        raise RemoteProtocolError(f"metadata {text_name} is not printable ASCII", StatusCode.INTERNAL)
    yield text_name, text.strip(" ")


def decode_metadata(headers: Iterable[Header]) -> Metadata:
    """The metadata in a header or trailer block: everything but pseudo-fields, ``grpc-*`` and the
    transport's.

    Raises RemoteProtocolError (code INTERNAL) for names or values that the specification does not allow.
    """
    items: list[MetadataItem] = []
    for name, value in headers:
        transport = name.startswith((b":", b"grpc-")) or name.decode("latin-1") in _TRANSPORT_NAMES
        if not transport:
            items.extend(_decode_field(name, value))
    return Metadata(tuple(items))
