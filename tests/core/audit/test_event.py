# SPDX-License-Identifier: Apache-2.0
import hashlib
import json

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.audit.event import (
    FIRST_PREV_HASH,
    MAX_JSON_BYTES,
    AuditEvent,
    InvalidEventError,
    canonical_bytes,
    chain_hash,
    written,
)
from mezite.core.audit.event_types import EventType

EVENT = AuditEvent(
    id="0190f1d2-7c3b-7aaa-8bbb-0123456789ab",
    event_type=EventType.SESSION_START,
    timestamp=1_795_440_430_042,
    cluster_name="mezite",
    hub_id="hub-1",
    seq=7,
    prev_hash="ab" * 32,
    user_name="alice",
    user_roles=("access", "auditor"),
    resource_type="node",
    resource_name="web-1",
    resource_labels={"team": "web", "env": "prod"},
    server_hostname="web-1",
    client_ip="192.0.2.7",
    session_id="s-1",
    decision_id="d-1",
    details={"login": "ubuntu", "pty": True, "columns": 80, "logins": ["ubuntu", "root"], "command": None},
)

LINE = (
    '{"id":"0190f1d2-7c3b-7aaa-8bbb-0123456789ab","event_type":"session.start","event_code":"T2000I",'
    '"timestamp":"2026-11-23T13:27:10.042Z","cluster_name":"mezite","hub_id":"hub-1","seq":7,'
    f'"prev_hash":"{"ab" * 32}","user_name":"alice","user_roles":["access","auditor"],"resource_type":"node",'
    '"resource_name":"web-1","resource_labels":{"env":"prod","team":"web"},"server_hostname":"web-1",'
    '"client_ip":"192.0.2.7","session_id":"s-1","success":true,"error_message":"","decision_id":"d-1",'
    '"columns":80,"command":null,"login":"ubuntu","logins":["ubuntu","root"],"pty":true}'
)


def test_the_json_is_flat_and_in_a_fixed_order():
    assert EVENT.to_json() == LINE


def test_what_is_written_reads_back():
    assert AuditEvent.from_json(LINE) == EVENT
    assert AuditEvent.from_json(LINE.encode()) == EVENT


def test_canonical_bytes_are_sorted_and_do_not_depend_on_order():
    document = json.loads(LINE)
    assert written(EVENT) == (EVENT.to_json(), canonical_bytes(EVENT))
    assert canonical_bytes(EVENT) == json.dumps(document, sort_keys=True, separators=(",", ":")).encode()
    backwards = json.dumps(dict(reversed(document.items())))
    assert canonical_bytes(AuditEvent.from_json(backwards)) == canonical_bytes(EVENT)


def test_the_chain():
    first = canonical_bytes(EVENT)
    expected = hashlib.sha256(FIRST_PREV_HASH.encode() + first).hexdigest()
    assert chain_hash(FIRST_PREV_HASH, first) == expected
    assert chain_hash(expected, first) != expected
    for bad in ("", "AB" * 32, "0" * 63):
        with pytest.raises(ValueError, match="64 hexadecimal digits"):
            chain_hash(bad, first)


def test_values_are_frozen():
    labels = {"env": "prod"}
    event = attrs.evolve(EVENT, resource_labels=labels)
    labels["env"] = "dev"
    assert event.resource_labels == {"env": "prod"}
    with pytest.raises(TypeError):
        event.details["login"] = "root"


@pytest.mark.parametrize(
    ("details", "why"),
    [
        ({"Login": "x"}, "cannot be a type-specific field"),
        ({"user_name": "x"}, "cannot be a type-specific field"),
        ({"event_type": "x"}, "cannot be a type-specific field"),
        ({"": "x"}, "cannot be a type-specific field"),
        ({"ratio": 0.5}, "holds a float"),
        ({"nested": {"a": "b"}}, "holds a dict"),
        ({"mixed": ["a", 1]}, "holds a tuple"),
        ({"huge": 2**63}, "holds a int"),
    ],
)
def test_details_that_have_no_canonical_form_are_refused(details, why):
    with pytest.raises(InvalidEventError, match=why):
        attrs.evolve(EVENT, details=details)


def change(**fields):
    return json.dumps({**json.loads(LINE), **fields})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not JSON"),
        ("[]", "not a JSON object"),
        ("[" * 20_000, "not JSON"),
        (b"\xff\xfe", "not JSON"),
        ("x" * (MAX_JSON_BYTES + 1), "too long"),
        (LINE.replace('"seq":7', '"seq":7,"seq":8'), "given twice"),
        (LINE.replace('"env":"prod"', '"env":"prod","env":"dev"'), "given twice"),
        (LINE.replace('"hub_id":"hub-1",', ""), "'hub_id' is missing"),
        (change(seq=0), "'seq' does not hold"),
        (change(seq=True), "'seq' does not hold"),
        (change(seq="7"), "'seq' does not hold"),
        (change(seq=2**63), "'seq' does not hold"),
        (change(success=1), "'success' does not hold"),
        (change(user_roles="admin"), "'user_roles' does not hold"),
        (change(user_roles=[1]), "'user_roles' does not hold"),
        (change(resource_labels=[]), "'resource_labels' does not hold"),
        (change(resource_labels={"a": 1}), "'resource_labels' does not hold"),
        (change(prev_hash="x"), "'prev_hash' does not hold"),
        (change(prev_hash=None), "'prev_hash' does not hold"),
        (change(user_name=None), "'user_name' does not hold"),
        (change(timestamp="yesterday"), "not an RFC 3339"),
        (change(timestamp="2026-11-23T14:27:10.042+01:00"), "not in milliseconds and UTC"),
        (change(event_type="session.begin"), "unknown event type"),
        (change(event_code="T2001I"), "is not that of session.start"),
        (change(ratio=1e3), "holds a float"),
        (change(ratio=float("nan")), "holds a float"),
    ],
)
def test_other_json_is_refused(text, why):
    with pytest.raises(InvalidEventError, match=why):
        AuditEvent.from_json(text)


TEXT = st.text(max_size=20)
DETAILS = st.dictionaries(
    st.from_regex(r"x[a-z0-9_]{0,10}", fullmatch=True),
    TEXT | st.booleans() | st.none() | st.integers(-(2**63) + 1, 2**63 - 1) | st.lists(TEXT, max_size=3),
    max_size=4,
)
EVENTS = st.builds(
    AuditEvent,
    id=TEXT,
    event_type=st.sampled_from(EventType),
    timestamp=st.integers(0, 253_402_300_799_999),
    cluster_name=TEXT,
    hub_id=TEXT,
    seq=st.integers(1, 2**63 - 1),
    prev_hash=st.binary(min_size=32, max_size=32).map(bytes.hex),
    user_name=TEXT,
    user_roles=st.lists(TEXT, max_size=3).map(tuple),
    resource_labels=st.dictionaries(TEXT, TEXT, max_size=3),
    client_ip=TEXT,
    success=st.booleans(),
    error_message=TEXT,
    details=DETAILS,
)


@given(EVENTS)
def test_any_event_survives_and_is_plain_ascii(event):
    line = event.to_json()
    assert line.isascii()
    assert line.isprintable()
    again = AuditEvent.from_json(line)
    assert again == event
    assert canonical_bytes(again) == canonical_bytes(event)


@given(EVENTS, EVENTS)
def test_equal_bytes_mean_equal_events(first, second):
    assert (first == second) == (canonical_bytes(first) == canonical_bytes(second))


@given(st.text(max_size=60) | st.binary(max_size=60))
def test_garbage_is_refused(text):
    with pytest.raises(InvalidEventError):
        AuditEvent.from_json(text)
