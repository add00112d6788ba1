# SPDX-License-Identifier: Apache-2.0
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.cli.terminal.escapes import escape_controls


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("web-1", "web-1"),
        ("naïve 節点 🙂", "naïve 節点 🙂"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\r\nb\t", "a\\r\\nb\\t"),
        ("\x9b2J", "\\x9b2J"),
        ("abc\u202etxt.exe", "abc\\u202etxt.exe"),
        ("a\u200bb", "a\\u200bb"),
        ("\udc80", "\\udc80"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text, shown):
    assert escape_controls(text) == shown


@given(st.text(st.characters(codec=None)))
def test_nothing_unsafe_is_left(text):
    """H1."""
    shown = escape_controls(text)
    assert not any(unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} for character in shown)
    assert escape_controls(shown) == shown
