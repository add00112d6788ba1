# SPDX-License-Identifier: Apache-2.0
"""Claim: whatever header fields say about a trace, what is passed on is well-formed, one field of each name at most,
and reads the same at the next hop; what was well-formed keeps its trace.

Allowed exceptions: none.
"""

import re

from mezite.core.trace_context import TRACE_FIELDS, trace_of

FRESH = bytes(range(1, 25))
OTHER = bytes(range(101, 125))
PARENT = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
WELL_FORMED = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
STATE = re.compile(rb"[\x20-\x7e]{3,2048}")


def check(data: bytes) -> None:
    """Fields, one on a line; its first byte says which. After 0 come a position and bytes to put over a good parent."""
    fields = []
    for line in data.split(b"\n"):
        kind, rest = line[:1], line[1:]
        if kind == b"0":
            position = rest[0] % len(PARENT) if rest else 0
            fields.append((b"traceparent", PARENT[:position] + rest[1:] + PARENT[position + len(rest[1:]) :]))
        else:
            fields.append(((b"TraceParent", b"tracestate", b"x")[(kind or b"\0")[0] % 3], rest))
    trace = trace_of(fields, FRESH)
    sent = trace.put_into(fields)
    ours = [(name, value) for name, value in sent if name.lower() in TRACE_FIELDS]
    assert [name for name, _ in ours] in ([b"traceparent"], list(TRACE_FIELDS))
    assert WELL_FORMED.fullmatch(ours[0][1])
    assert all(STATE.fullmatch(value) for _, value in ours[1:])
    assert trace_of(sent, OTHER).put_into(sent) == sent
    assert trace.is_new == (trace.trace_id == FRESH[:16].hex())
