# SPDX-License-Identifier: Apache-2.0
"""Every fuzz target also runs as an ordinary test: on its corpus and on what Hypothesis makes up."""

import functools
import importlib.util
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

FUZZ = Path(__file__).parent.parent.parent / "fuzz"
TARGETS = sorted(path.stem for path in FUZZ.glob("fuzz_*.py"))


@functools.cache
def target(name):
    spec = importlib.util.spec_from_file_location(name, FUZZ / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def corpus(name):
    return sorted(path for path in (FUZZ / "corpus" / name).glob("*") if path.is_file())


def test_there_are_targets():
    assert TARGETS


@pytest.mark.parametrize("name", TARGETS)
def test_the_target_says_what_it_claims(name):
    first, *rest = target(name).__doc__.split("\n\n")
    assert first.startswith("Claim: ")
    assert any(paragraph.startswith("Allowed exceptions: ") for paragraph in rest)


@pytest.mark.parametrize("name", TARGETS)
def test_the_corpus_holds(name):
    for path in corpus(name):
        target(name).check(path.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.binary(max_size=512))
def test_made_up_bytes_hold(name, data):
    target(name).check(data)


@pytest.mark.parametrize("name", TARGETS)
@given(data=st.data())
def test_damaged_corpus_holds(name, data):
    """Known inputs with one piece replaced: deeper than random bytes get."""
    known = data.draw(st.sampled_from([b"", *(path.read_bytes() for path in corpus(name))]))
    start = data.draw(st.integers(0, len(known)))
    end = data.draw(st.integers(start, min(len(known), start + 16)))
    target(name).check(known[:start] + data.draw(st.binary(max_size=16)) + known[end:])
