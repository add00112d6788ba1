# SPDX-License-Identifier: Apache-2.0
"""Which trace a request belongs to; the cases are those of the W3C's own test suite, and some that it lacks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.trace_context import FRESH_BYTES, MAX_STATE, TRACE_FIELDS, TraceContext, trace_of

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{PARENT}-01"
FRESH = bytes(range(1, 25))
NEW = TraceContext(trace_id=FRESH[:16].hex(), parent_id=FRESH[16:].hex(), flags=1, is_new=True)


def request(*parents, state=()):
    fields = [(b"traceparent", parent.encode("latin-1")) for parent in parents]
    return [*fields, *((b"tracestate", each.encode("latin-1")) for each in state), (b"accept", b"*/*")]


@pytest.mark.parametrize("flags", ["00", "01", "02", "03", "ff"])
def test_a_good_parent_is_passed_on_as_it_is(flags):
    given = f"00-{TRACE}-{PARENT}-{flags}"
    trace = trace_of(request(given), FRESH)
    assert (trace.trace_id, trace.parent_id, trace.is_new) == (TRACE, PARENT, False)
    assert trace.fields == [(b"traceparent", given.encode())]


def test_names_are_read_in_any_case_and_blanks_around_values_do_not_count():
    fields = [(b"TraceParent", f" \t{GOOD} ".encode()), (b"TraceState", b"a=1")]
    assert trace_of(fields, FRESH).fields == [(b"traceparent", GOOD.encode()), (b"tracestate", b"a=1")]


@pytest.mark.parametrize(
    "parents",
    [
        [],
        [""],
        [GOOD, GOOD],
        [f"{GOOD},{GOOD}"],
        [GOOD.upper()],
        [GOOD.replace("4", "g", 1)],
        [f"ff-{TRACE}-{PARENT}-01"],
        [f"ff-{TRACE}-{PARENT}-01-x"],
        [f"00-{'0' * 32}-{PARENT}-01"],
        [f"00-{TRACE}-{'0' * 16}-01"],
        [f"00-{TRACE[:-1]}-{PARENT}-01"],
        [f"00-{TRACE}a-{PARENT}-01"],
        [f"00-{TRACE}-{PARENT[:-1]}-01"],
        [f"00-{TRACE}-{PARENT}a-01"],
        [f"00-{TRACE}-{PARENT}-1"],
        [f"00-{TRACE}-{PARENT}-001"],
        [f"00-{TRACE}-{PARENT}"],
        [f"0-{TRACE}-{PARENT}-01"],
        [f"000-{TRACE}-{PARENT}-01"],
        [f"00_{TRACE}_{PARENT}_01"],
        [f"{GOOD}-"],
        [f"{GOOD}-what-is-this"],
        [f"{GOOD}."],
        [f"cc-{TRACE}-{PARENT}-01what"],
        [f"cc-{TRACE}-{PARENT}-01-\x80"],
        [f"{GOOD}\n"],
        [f"00-{TRACE}-{PARENT}-0\uff11".encode().decode("latin-1")],
        [GOOD[:-1] + "\u00b2"],
    ],
)
def test_anything_else_begins_a_trace(parents):
    trace = trace_of(request(*parents, state=["a=1"]), FRESH)
    assert trace == NEW
    assert trace.fields == [(b"traceparent", f"00-{FRESH[:16].hex()}-{FRESH[16:].hex()}-01".encode())]


@pytest.mark.parametrize("rest", ["", "-", "-what-the-future-will-be-like"])
@pytest.mark.parametrize(("flags", "kept"), [("01", "01"), ("ff", "01"), ("02", "00")])
def test_of_a_later_version_what_is_known_goes_on(rest, flags, kept):
    trace = trace_of(request(f"cc-{TRACE}-{PARENT}-{flags}{rest}"), FRESH)
    assert trace.traceparent == f"00-{TRACE}-{PARENT}-{kept}"


@pytest.mark.parametrize(
    ("states", "passed"),
    [
        (["foo=1,bar=2"], "foo=1,bar=2"),
        (["foo=1", "bar=2"], "foo=1,bar=2"),
        (["foo=1 \t , \t bar=2, ", ""], "foo=1,bar=2"),
        (["foo=1,,,bar=2"], "foo=1,bar=2"),
        (["1t@s=x y", "z*/_-=~"], "1t@s=x y,z*/_-=~"),
        (["0=" + "v" * 256], "0=" + "v" * 256),
        (["k" * 256 + "=1"], "k" * 256 + "=1"),
        (
            [",".join(f"k{number}=1" for number in range(32))],
            ",".join(f"k{number}=1" for number in range(32)),
        ),
    ],
)
def test_a_state_is_passed_on(states, passed):
    trace = trace_of(request(GOOD, state=states), FRESH)
    assert trace.state == passed
    assert trace.fields[1:] == [(b"tracestate", passed.encode())]


@pytest.mark.parametrize(
    "states",
    [
        [],
        [""],
        [" , ,"],
        ["foo"],
        ["foo=1,bar"],
        ["=1"],
        ["foo="],
        ["foo= "],
        ["Foo=1"],
        ["foo@=1,foo @=2"],
        ["@foo=1"],
        ["foo=1=2"],
        ["foo=\x7f"],
        ["foo=\xe9"],
        ["foo=1,foo=1"],
        ["foo=1,\x0bbar=2"],
        ["foo=1\x0c"],
        ["foo=1", "foo=2"],
        ["k" * 257 + "=1"],
        ["k=" + "v" * 257],
        [",".join(f"k{number}=1" for number in range(33))],
    ],
)
def test_a_state_with_one_bad_member_goes(states):
    assert trace_of(request(GOOD, state=states), FRESH).fields == [(b"traceparent", GOOD.encode())]


def test_a_state_has_an_end():
    members = [f"k{number}={'v' * 200}" for number in range(9)] + ["z=" + "v" * 210]
    fitting = ",".join(members)
    assert len(fitting) == MAX_STATE
    assert trace_of(request(GOOD, state=[fitting]), FRESH).state == fitting
    assert trace_of(request(GOOD, state=[fitting + "v"]), FRESH).state == ""


def test_what_the_client_said_about_a_trace_is_replaced():
    fields = [(b"A", b"1"), (b"TraceParent", b"x"), (b"b", b"2"), (b"tracestate", b"a=1")]
    trace = trace_of(fields, FRESH)
    assert trace.put_into(fields) == [(b"A", b"1"), (b"b", b"2"), *trace.fields]


@pytest.mark.parametrize(
    "fresh", [b"", FRESH[:-1], FRESH + b"x", bytes(16) + FRESH[16:], FRESH[:16] + bytes(8)]
)
def test_a_new_trace_takes_randomness(fresh):
    with pytest.raises(ValueError, match=f"{FRESH_BYTES} random bytes"):
        trace_of(request(GOOD), fresh)


@given(st.lists(st.tuples(st.sampled_from([*TRACE_FIELDS, b"x"]), st.binary(max_size=80))))
def test_what_is_passed_on_is_well_formed_and_reads_the_same_again(fields):
    sent = trace_of(fields, FRESH).fields
    assert trace_of(sent, bytes(reversed(FRESH))).fields == sent
