# SPDX-License-Identifier: Apache-2.0
import time

import pytest

from mezite.core.rbac.value_pattern import InvalidPatternError, ValuePattern, is_pattern


@pytest.mark.parametrize(
    ("value", "expected"),
    [("prod", False), ("*", False), ("", False), ("a^b$c", False), ("^eng-.*$", True), ("^$", True)],
)
def test_what_is_a_pattern(value, expected):
    assert is_pattern(value) is expected


@pytest.mark.parametrize("value", ["^", "$", "^eng", "eng$"])
def test_half_a_pattern_is_refused(value):
    with pytest.raises(InvalidPatternError, match="half a regular expression"):
        is_pattern(value)


@pytest.mark.parametrize(
    ("pattern", "value", "matches"),
    [
        ("^eng-.*$", "eng-1", True),
        ("^eng-.*$", "Eng-1", False),
        ("^eng-.*$", "my-eng-1", False),
        ("^a|b$", "a", True),
        ("^a|b$", "ab", False),
        ("^a|b$", "xb", False),
        ("^$", "", True),
        ("^$", "x", False),
        ("^[a-c]{2}\\d?$", "ab7", True),
        ("^gr\u00fcn.$", "gr\u00fcn\u00e9", True),
        ("^\\^x\\$$", "^x$", True),
        ("^.*$", "\ud800", False),
    ],
)
def test_the_whole_value_is_matched(pattern, value, matches):
    assert ValuePattern(pattern).matches(value) is matches


@pytest.mark.parametrize(
    ("pattern", "why"),
    [
        ("^($", "missing \\)"),
        ("^(a)\\1$", "invalid escape"),
        ("^(?=a)$", "invalid perl operator"),
        ("^a\\$", "trailing"),
        ("^(a{1000}){1000}$", "invalid repetition size"),
        ("^\\pL{200}$", "pattern too large"),
        ("^\ud800$", "is not a regular expression: it is not valid Unicode$"),
        ("^" + "a" * 255 + "$", "257 characters; 256 are allowed"),
    ],
)
def test_what_cannot_run_in_linear_time_is_refused(pattern, why, capfd):
    with pytest.raises(InvalidPatternError, match=why):
        ValuePattern(pattern)
    assert capfd.readouterr() == ("", ""), "the library tells us, not whoever reads the terminal"


def test_the_longest_pattern():
    assert ValuePattern("^" + "a" * 254 + "$").matches("a" * 254)


def test_patterns_are_equal_by_their_text():
    assert ValuePattern("^a$") == ValuePattern("^a$") != ValuePattern("^b$")
    assert repr(ValuePattern("^a$")) == "ValuePattern(text='^a$')"


@pytest.mark.parametrize("pattern", ["^(a*)*b$", "^(a|a)*b$", "^(a?){50}a{50}$", "^(.*,){11}P$"])
def test_ambiguous_patterns_cost_no_more_p10(pattern):
    """A backtracking engine needs years for some of these; a value has 255 characters at most."""
    compiled = ValuePattern(pattern)
    start = time.perf_counter()
    for _ in range(10):
        assert not compiled.matches("a" * 254 + "!")
    assert time.perf_counter() - start < 1
