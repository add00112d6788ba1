# SPDX-License-Identifier: Apache-2.0
"""The values that API methods are made of; both the server and the client speak in them."""

from __future__ import annotations

import enum
import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Generic, TypeVar

import attrs
from google.protobuf.message import Message

from mezite.core.grpc.message_framing import MAX_MESSAGE_BYTES
from mezite.core.grpc.metadata import Metadata, MetadataItem
from mezite.core.grpc.status import StatusCode

__all__ = [
    "CallContext",
    "CallKind",
    "MethodRef",
    "PeerInfo",
    "RpcError",
    "RpcMethod",
    "StatusCode",
    "decode_details",
    "encode_details",
    "retry_pushback",
]

DETAILS_FIELD = "mezite-details-bin"
"""The trailer that carries the details of an error: a JSON object of strings, in UTF-8."""

MAX_DETAILS_BYTES = 4096
"""A quarter of the 16 KiB header block that every gRPC client takes."""

PUBLIC_MAX_REQUEST_BYTES = 64 * 1024
"""Anybody can send to a public method: a hundred streams of it are 6 MiB, of the usual 4 MiB they were 400.
"""

RequestT = TypeVar("RequestT", bound=Message)
ResponseT = TypeVar("ResponseT", bound=Message)


class RpcError(Exception):
    """A call failed in a way its caller may know about: raise it in a handler, catch it in a client.

    ``message`` and ``details`` reach the peer as they are; put no secret in them.
    """

    def __init__(
        self, status: StatusCode, message: str = "", details: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(f"{status.name}: {message}")
        self.status = status
        self.message = message
        self.details: Mapping[str, str] = dict(details or {})


def encode_details(details: Mapping[str, str]) -> list[MetadataItem]:
    """The trailer for those details: none when there are none, or when they are longer than the limit."""
    encoded = json.dumps(dict(details), ensure_ascii=False).encode("utf-8", "replace")
    if not details or len(encoded) > MAX_DETAILS_BYTES:
        return []
    return [(DETAILS_FIELD, encoded)]


def retry_pushback(details: Mapping[str, str]) -> list[MetadataItem]:
    """The trailer that tells gRPC libraries when to try again, for details with ``retry_after`` in seconds.

    gRPC's retry design (proposal A6) calls it server pushback; clients with a retry policy wait that long.
    """
    seconds = details.get("retry_after", "")
    return [("grpc-retry-pushback-ms", f"{seconds}000")] if seconds else []


def decode_details(metadata: Metadata) -> dict[str, str]:
    """The details in those trailers; empty when there are none that can be read."""
    try:
        parsed = json.loads(metadata.get_bytes(DETAILS_FIELD) or b"{}")
    except ValueError:
        return {}
    return (
        {key: value for key, value in parsed.items() if isinstance(value, str)}
        if isinstance(parsed, dict)
        else {}
    )


class CallKind(enum.Enum):
    """Which half of a call is a stream, and with that the arguments of the handler."""

    UNARY = "unary"
    """``async handler(request, context) -> response``"""
    SERVER_STREAM = "server stream"
    """``async handler(request, context, responses) -> None``; ``await responses.send(message)``"""
    CLIENT_STREAM = "client stream"
    """``async handler(requests, context) -> response``; ``async for request in requests``"""
    BIDI = "bidi"
    """``async handler(requests, context, responses) -> None``"""

    @property
    def streams_requests(self) -> bool:
        return self in (CallKind.CLIENT_STREAM, CallKind.BIDI)

    @property
    def streams_responses(self) -> bool:
        return self in (CallKind.SERVER_STREAM, CallKind.BIDI)


def _not_empty(_instance: object, attribute: attrs.Attribute[str], value: str) -> None:
    if not value:
        raise ValueError(f"a method needs a {attribute.name}")


def _method_path(_instance: object, _attribute: attrs.Attribute[str], value: str) -> None:
    if value.count("/") != 2 or not value.startswith("/") or value.endswith("/"):
        raise ValueError(f"{value!r} is not /package.Service/Method")


@attrs.frozen(kw_only=True)
class RpcMethod:
    """A method as it is served. Without a verb and a kind of resource it cannot be made (threat E13)."""

    path: str = attrs.field(validator=_method_path)
    """``/package.Service/Method``."""
    request_type: type[Message]
    response_type: type[Message]
    kind: CallKind = CallKind.UNARY
    handler: Callable[..., Awaitable[Any]]
    """As the kind says. Raises RpcError; anything else becomes INTERNAL without its text."""
    verb: str = attrs.field(validator=_not_empty)
    resource: str = attrs.field(validator=_not_empty)
    public: bool = False
    """The request carries its own credential, or needs none: neither authenticated nor authorized here."""
    max_request_bytes: int = attrs.field()
    """Of one message; 64 KiB for public methods, else 4 MiB."""

    @max_request_bytes.default
    def _default_max_request_bytes(self) -> int:
        return PUBLIC_MAX_REQUEST_BYTES if self.public else MAX_MESSAGE_BYTES

    @property
    def service(self) -> str:
        """``package.Service``."""
        return self.path.split("/")[1]


@attrs.frozen
class MethodRef(Generic[RequestT, ResponseT]):
    """A method as a client names it."""

    path: str
    request_type: type[RequestT]
    response_type: type[ResponseT]


@attrs.frozen(kw_only=True)
class PeerInfo:
    """Who is at the other end of the connection, as far as the connection itself tells."""

    client_address: str
    """``ip:port``, after the PROXY protocol."""
    certificate_der: bytes | None = None
    """The certificate shown in the TLS handshake: proven to be held, but **not** yet verified by this."""
    agent: Any = None
    """The identity of the agent at the other end of a tunnel, authenticated when that came up; None elsewhere."""


@attrs.define(eq=False, kw_only=True)
class CallContext:
    """One call, for its handler and for who decides about it."""

    method: RpcMethod
    metadata: Metadata
    peer: PeerInfo
    deadline: float | None
    """On trio's clock, in seconds; None: none."""
    identity: Any = None
    """What the authenticator returned; None in public methods."""
    response_metadata: list[MetadataItem] = attrs.field(factory=list)
    """Sent with the response's first message; may be added to until then."""
    trailing_metadata: list[MetadataItem] = attrs.field(factory=list)
    """Sent with the status."""

    @property
    def bearer_token(self) -> str | None:
        """The token of ``authorization: Bearer ...``; None when there is no such field or another scheme."""
        scheme, _, token = (self.metadata.get("authorization") or "").partition(" ")
        return token if scheme.lower() == "bearer" and token else None
