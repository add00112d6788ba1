# SPDX-License-Identifier: Apache-2.0
"""One audit event: a flat JSON object, its canonical bytes and the hash chain of a hub.

Each hub numbers its events from 1 (``seq``) and chains them: ``prev_hash`` of an event is ``chain_hash`` of
the one before it, and 64 zeros for the first. A removed, changed, reordered or inserted event breaks the
chain; what is chained are the canonical bytes. JSON is written in ASCII, so that no name in an event can
steer a terminal.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

import attrs

from mezite.core.audit.event_types import EventType, parse_event_type
from mezite.core.timestamps import format_timestamp, parse_timestamp

__all__ = [
    "FIRST_PREV_HASH",
    "AuditEvent",
    "DetailValue",
    "InvalidEventError",
    "canonical_bytes",
    "chain_hash",
    "check_details",
    "written",
]

FIRST_PREV_HASH = "0" * 64

DetailValue = str | int | bool | None | tuple[str, ...]
"""What a type-specific field may hold. No floats: they have no canonical text."""

DETAIL_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
HASH = re.compile(r"[0-9a-f]{64}", re.ASCII)

MAX_JSON_BYTES = 64 * 1024
"""A session.end with long labels has 3 kB; a line of the log must stay readable in one piece."""

MAX_INTEGER = 2**63 - 1
"""What databases and other languages' JSON readers store as an integer."""

FIELDS = (
    "id",
    "event_type",
    "event_code",
    "timestamp",
    "cluster_name",
    "hub_id",
    "seq",
    "prev_hash",
    "user_name",
    "user_roles",
    "resource_type",
    "resource_name",
    "resource_labels",
    "server_hostname",
    "client_ip",
    "session_id",
    "success",
    "error_message",
    "decision_id",
)
"""The fields of every event, in the order in which they are shown; ``details`` follow, sorted."""

# Made once: an event is written twice for each request to an application.
SHOWN = json.JSONEncoder(separators=(",", ":"))
CANONICAL = json.JSONEncoder(separators=(",", ":"), sort_keys=True)


class InvalidEventError(ValueError):
    """JSON that is not an audit event; the message names the field."""


def freeze_labels(labels: Mapping[str, str]) -> Mapping[str, str]:
    return MappingProxyType(dict(labels))


def freeze_details(details: Mapping[str, DetailValue]) -> Mapping[str, DetailValue]:
    return MappingProxyType(
        {name: tuple(value) if isinstance(value, list | tuple) else value for name, value in details.items()}
    )


@lru_cache(maxsize=1024)
def is_detail_name(name: str) -> bool:
    return DETAIL_NAME.fullmatch(name) is not None and name not in FIELDS


def check_details(details: Mapping[str, object]) -> None:
    """Raise InvalidEventError for type-specific fields that cannot be written."""
    for name, value in details.items():
        if not is_detail_name(name):
            raise InvalidEventError(f"{name!r} cannot be a type-specific field")
        plain = value is None or isinstance(value, str | bool)
        whole = isinstance(value, int) and abs(value) <= MAX_INTEGER
        listed = isinstance(value, tuple) and all(isinstance(item, str) for item in value)
        if not (plain or whole or listed):
            raise InvalidEventError(f"{name!r} holds a {type(value).__name__}, which is not allowed")


@attrs.frozen(kw_only=True)
class AuditEvent:
    """Something that happened. Empty text, no labels and None mean "does not apply".

    Raises InvalidEventError when made with details that cannot be written.
    """

    id: str
    """UUIDv7."""
    event_type: EventType
    timestamp: int
    """Milliseconds since 1970."""
    cluster_name: str
    hub_id: str
    seq: int
    """From 1, without gaps, per hub."""
    prev_hash: str
    """chain_hash of the event before it; FIRST_PREV_HASH for ``seq`` 1."""
    user_name: str = ""
    user_roles: tuple[str, ...] = ()
    resource_type: str = ""
    """``node``, ``app``, ``user``, …"""
    resource_name: str = ""
    resource_labels: Mapping[str, str] = attrs.field(factory=dict, converter=freeze_labels)
    server_hostname: str = ""
    """The node or agent that it happened on."""
    client_ip: str = ""
    session_id: str = ""
    success: bool = True
    error_message: str = ""
    decision_id: str = ""
    """Id of the authorisation decision behind it."""
    details: Mapping[str, DetailValue] = attrs.field(
        factory=dict,
        converter=freeze_details,
        validator=lambda _instance, _attribute, details: check_details(details),
    )
    """Type-specific fields, written flat beside the others."""

    def to_json(self) -> str:
        """One line of JSON: FIELDS in their order, then the details sorted by name."""
        return SHOWN.encode(document(self))

    @classmethod
    def from_json(cls, text: str | bytes) -> "AuditEvent":
        """Read what to_json wrote; unknown fields become details.

        Raises InvalidEventError: not a JSON object, a field missing or of another type, unknown event type,
        a code that is not the type's, a field given twice, or more than 64 KiB.
        """
        return read_event(text)


def document(event: AuditEvent) -> dict[str, object]:
    values: dict[str, object] = {name: getattr(event, name, None) for name in FIELDS}
    values["event_type"] = event.event_type.type_name
    values["event_code"] = event.event_type.code
    values["timestamp"] = format_timestamp(event.timestamp)
    values["user_roles"] = list(event.user_roles)
    values["resource_labels"] = dict(sorted(event.resource_labels.items()))
    for name, value in sorted(event.details.items()):
        values[name] = list(value) if isinstance(value, tuple) else value
    return values


def canonical_bytes(event: AuditEvent) -> bytes:
    """What is hashed: JSON in ASCII with all keys sorted and no spaces, equal for equal events."""
    return CANONICAL.encode(document(event)).encode("ascii")


def written(event: AuditEvent) -> tuple[str, bytes]:
    """`to_json` and `canonical_bytes`, for who needs both."""
    values = document(event)
    return SHOWN.encode(values), CANONICAL.encode(values).encode("ascii")


def chain_hash(prev_hash: str, event_bytes: bytes) -> str:
    """SHA-256 over ``prev_hash`` (64 hexadecimal digits as ASCII) and the canonical bytes; 64 hexadecimal
    digits.

    Raises ValueError: ``prev_hash`` is no hash.
    """
    if HASH.fullmatch(prev_hash) is None:
        raise ValueError("the previous hash is not 64 hexadecimal digits")
    return hashlib.sha256(prev_hash.encode("ascii") + event_bytes).hexdigest()


def read_event(text: str | bytes) -> AuditEvent:
    if len(text) > MAX_JSON_BYTES:
        raise InvalidEventError(f"an event of {len(text)} bytes is too long")
    try:
        decoded = text.decode("utf-8") if isinstance(text, bytes) else text
        values = json.loads(decoded, object_pairs_hook=unique_object)
    except InvalidEventError:
        raise
    except (ValueError, RecursionError):
        raise InvalidEventError("the event is not JSON") from None
    if not isinstance(values, dict):
        raise InvalidEventError("the event is not a JSON object")
    for name in FIELDS:
        check_field(name, values)
    try:
        event_type = parse_event_type(values.pop("event_type"))
        timestamp = parse_timestamp(values["timestamp"])
    except ValueError as error:
        raise InvalidEventError(str(error)) from None
    if values["timestamp"] != format_timestamp(timestamp):
        raise InvalidEventError("the timestamp is not in milliseconds and UTC")
    values["timestamp"] = timestamp
    code = values.pop("event_code")
    if code != event_type.code:
        raise InvalidEventError(f"event_code {code!r} is not that of {event_type.type_name}")
    details = {name: values.pop(name) for name in list(values) if name not in FIELDS}
    values["user_roles"] = tuple(values["user_roles"])
    return AuditEvent(event_type=event_type, details=details, **values)


def unique_object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise InvalidEventError("a field is given twice")
    return values


def check_field(name: str, values: Mapping[str, object]) -> None:
    if name not in values:
        raise InvalidEventError(f"field {name!r} is missing")
    value = values[name]
    match name:
        case "seq":
            valid = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= MAX_INTEGER
        case "success":
            valid = isinstance(value, bool)
        case "user_roles":
            valid = isinstance(value, list) and all(isinstance(role, str) for role in value)
        case "resource_labels":
            valid = isinstance(value, dict) and all(isinstance(label, str) for label in value.values())
        case "prev_hash":
            valid = isinstance(value, str) and HASH.fullmatch(value) is not None
        case _:
            valid = isinstance(value, str)
    if not valid:
        raise InvalidEventError(f"field {name!r} does not hold what it should")
