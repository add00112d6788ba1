# SPDX-License-Identifier: Apache-2.0
"""W3C Trace Context: which trace a request belongs to, and what the next hop is told (Recommendation of 2021-11-23).

A good `traceparent` is passed on with the caller's own parent id: the hub makes no spans. Anything that is not exactly
as the grammar has it counts as absent, and the request begins a trace of its own; a `tracestate` without a good
`traceparent` means nothing and goes, too.
"""

import re
from collections.abc import Iterable
from typing import Final

import attrs

__all__ = ["FRESH_BYTES", "TRACE_FIELDS", "TraceContext", "trace_of"]

Field = tuple[bytes, bytes]

TRACE_FIELDS: Final = (b"traceparent", b"tracestate")
"""In lower case."""

FRESH_BYTES: Final = 24
"""Randomness for a new trace: 16 bytes of its id, 8 of its first parent's."""

MAX_STATE = 2048
"""Characters. Section 3.3.1.5 wants at least 512 passed on; more than four times that is no state but a load."""

MAX_MEMBERS = 32
"""Section 3.3.1.1."""

SAMPLED = 1
"""The flag of new traces. The hub does record each request, in the audit log; and with 0 the samplers that respect
their parent, which is the default of OpenTelemetry, would drop the trace of every request from a browser."""

PARENT = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[\x21-\x7e]*)?", re.ASCII)
NO_VERSION = b"ff"
KNOWN_VERSION = b"00"

MEMBER = re.compile(
    rb"([a-z0-9][a-z0-9_*/@-]{0,255})=([\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e])",
    re.ASCII,
)
BLANKS = b" \t"


@attrs.frozen(kw_only=True)
class TraceContext:
    """Where a request belongs."""

    trace_id: str
    """32 hexadecimal digits in lower case, as in audit events."""
    parent_id: str
    """16 of them."""
    flags: int
    state: str = ""
    """`tracestate` as it is passed on; empty for none."""
    is_new: bool = False
    """Whether the trace begins here."""

    @property
    def traceparent(self) -> str:
        """The field's value, in version 00."""
        return f"00-{self.trace_id}-{self.parent_id}-{self.flags:02x}"

    @property
    def fields(self) -> list[Field]:
        """What the next hop is sent instead of the client's fields of these names."""
        fields = [(b"traceparent", self.traceparent.encode("ascii"))]
        return [*fields, (b"tracestate", self.state.encode("ascii"))] if self.state else fields

    def put_into(self, fields: Iterable[Field]) -> list[Field]:
        """Return `fields` with those of this trace in place of whatever they say about one."""
        return [*(field for field in fields if field[0].lower() not in TRACE_FIELDS), *self.fields]


def trace_of(fields: Iterable[Field], fresh: bytes) -> TraceContext:
    """Return the trace that a request with these header fields belongs to; `fresh` is for one that begins here.

    Raises ValueError: `fresh` is not FRESH_BYTES of randomness, or has only zeros where an id would be.
    """
    trace_id, parent_id = fresh[:16], fresh[16:]
    if len(fresh) != FRESH_BYTES or not any(trace_id) or not any(parent_id):
        raise ValueError(f"a new trace takes {FRESH_BYTES} random bytes")
    fields = list(fields)
    known = parsed(values(fields, b"traceparent"))
    if known is None:
        return TraceContext(trace_id=trace_id.hex(), parent_id=parent_id.hex(), flags=SAMPLED, is_new=True)
    return attrs.evolve(known, state=passed_state(values(fields, b"tracestate")))


def values(fields: Iterable[Field], name: bytes) -> list[bytes]:
    return [value.strip(BLANKS) for given, value in fields if given.lower() == name]


def parsed(parents: list[bytes]) -> TraceContext | None:
    if len(parents) != 1 or (match := PARENT.fullmatch(parents[0])) is None:
        return None
    version, trace_id, parent_id, flags, rest = match.groups()
    # A later version may say more behind what is known (section 3.2.2.1 and 4.3); this one may not.
    if version == NO_VERSION or (version == KNOWN_VERSION and rest is not None):
        return None
    if not trace_id.strip(b"0") or not parent_id.strip(b"0"):
        return None
    kept = int(flags, 16) if version == KNOWN_VERSION else int(flags, 16) & SAMPLED
    return TraceContext(trace_id=trace_id.decode(), parent_id=parent_id.decode(), flags=kept)


def passed_state(states: list[bytes]) -> str:
    """All members in their order, or nothing when one is wrong: half a state is not what anybody wrote."""
    members = [member.strip(BLANKS) for member in b",".join(states).split(b",")]
    members = [member for member in members if member]
    keys = [match[1] for member in members if (match := MEMBER.fullmatch(member)) is not None]
    state = b",".join(members)
    if len(keys) < len(members) or len(set(keys)) < len(keys):
        return ""
    return state.decode("ascii") if len(members) <= MAX_MEMBERS and len(state) <= MAX_STATE else ""
