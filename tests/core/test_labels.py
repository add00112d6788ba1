# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.fuzz_labels import check
from mezite.core.audit.event import AuditEvent
from mezite.core.audit.event_types import EventType
from mezite.core.labels import (
    MAX_LABELS,
    MAX_TOTAL,
    InvalidLabelsError,
    check_labels,
    format_labels,
    parse_labels,
)
from mezite.testing.strategies.core_texts import labels


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("  ", {}),
        ("env=prod,team=platform", {"env": "prod", "team": "platform"}),
        (" env = prod , team=a b", {"env": "prod", "team": "a b"}),
        ("empty=,eq=a=b", {"empty": "", "eq": "a=b"}),
        ("k8s.io/role=Größe", {"k8s.io/role": "Größe"}),
    ],
)
def test_pairs_are_read(text, expected):
    assert parse_labels(text) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("env", "'env' has no value: labels are written key=value"),
        ("a=1,,b=2", "nothing between two commas"),
        ("a=1,", "nothing between two commas"),
        ("a=1,a=2", "given twice"),
        ("=x", "'' is not a label name"),
        ("ä=x", "not a label name"),
        ("-a=x", "not a label name"),
        ("a" * 64 + "=x", "at most 63"),
        ("a=\x1b[2J", "value of label 'a'"),
        ("a=\u202ex", "value of label 'a'"),
        ("a=\ud800", "value of label 'a'"),
        ("a=" + "x" * 256, "256 characters; at most 255"),
    ],
)
def test_bad_pairs_are_named(text, why):
    with pytest.raises(InvalidLabelsError, match=why):
        parse_labels(text)


def test_mappings_obey_the_same_grammar():
    assert list(check_labels({"b": "1", "a": "2"})) == ["a", "b"]
    for value in ("a,b", " a", "a "):
        with pytest.raises(InvalidLabelsError, match="no comma, outer space"):
            format_labels({"k": value})


def test_the_number_is_limited():
    check_labels({f"k{n}": "" for n in range(MAX_LABELS)})
    with pytest.raises(InvalidLabelsError, match="65 labels, more than the 64"):
        check_labels({f"k{n}": "" for n in range(MAX_LABELS + 1)})


def test_the_largest_labels_fit_an_audit_event():
    """Threat D15: an event that is too long to be read again would make the log unverifiable."""
    largest = {"k": "", "l": "\u00e9" * 240, **{f"k{n:02}": "\u00e9" * 255 for n in range(15)}}
    largest["k"] = "x" * (MAX_TOTAL - sum(len(key) + len(value.encode()) for key, value in largest.items()))
    check_labels(largest)
    event = AuditEvent(
        id="e",
        event_type=EventType.SESSION_START,
        timestamp=0,
        cluster_name="c" * 253,
        hub_id="h",
        seq=1,
        prev_hash="0" * 64,
        resource_labels=largest,
        details={"command": "\u00e9" * 4096},
    )
    assert AuditEvent.from_json(event.to_json()) == event
    with pytest.raises(InvalidLabelsError, match="8193 bytes, more than the 8192"):
        check_labels(largest | {"k": largest["k"] + "x"})


@given(labels())
def test_what_is_written_reads_back(mapping):
    assert parse_labels(format_labels(mapping)) == mapping


@given(st.binary(max_size=200) | st.text("a=, b", max_size=30).map(str.encode))
def test_fuzz_claim(data):
    check(data)
