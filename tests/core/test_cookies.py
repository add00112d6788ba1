# SPDX-License-Identifier: Apache-2.0
"""Our cookie, or none (threat D17)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.cookies import read_cookie, write_cookie

NAME = "mezite_session"


@pytest.mark.parametrize(
    ("fields", "value"),
    [
        ([b"mezite_session=abc"], "abc"),
        ([b"a=1; mezite_session=abc; b=2"], "abc"),
        ([b"a=1;mezite_session=abc"], "abc"),
        ([b"a=1", b"mezite_session=abc"], "abc"),
        ([b"=; ;; mezite_session=A-z_09; =x"], "A-z_09"),
        ([b'a="x\xff\x01; mezite_session=abc'], "abc"),
        ([b"mezite_session=" + b"x" * 256], "x" * 256),
        ([], None),
        ([b""], None),
        ([b"mezite_session"], None),
        ([b"mezite_session="], None),
        ([b"mezite_session=" + b"x" * 257], None),
        ([b"Mezite_Session=abc"], None),
        ([b"mezite_sessio=abc"], None),
        ([b"mezite_session2=abc"], None),
        ([b"mezite_session =abc"], None),
        ([b"  mezite_session=abc"], None),
        ([b"\tmezite_session=abc"], None),
        ([b"\xa0mezite_session=abc"], None),
        ([b"\x85mezite_session=abc"], None),
        ([b"mezite_session=abc "], None),
        ([b"mezite_session=abc\n"], None),
        ([b"mezite_session= abc"], None),
        ([b'mezite_session="abc"'], None),
        ([b"mezite_session=a=b"], None),
        # Found by mutation: the name ends at the first sign, or the second cookie would not be seen.
        ([b"mezite_session=abc; mezite_session=a=b"], None),
        ([b"mezite_session=a,b"], None),
        ([b"mezite_session=\xd9\xa0"], None),
        ([b"a=1, mezite_session=abc"], None),
        # Two of that name: one may be from a sibling site, and nothing says which.
        ([b"mezite_session=abc; mezite_session=abc"], None),
        ([b"mezite_session=abc; mezite_session="], None),
        ([b"mezite_session=abc", b"mezite_session=xyz"], None),
    ],
)
def test_reading(fields, value):
    assert read_cookie(fields, NAME) == value


@given(st.lists(st.binary()))
def test_any_bytes_are_read(fields):
    value = read_cookie(fields, NAME)
    assert value is None or any(b"mezite_session=" + value.encode() in field for field in fields)


@given(st.text("abcdef0123456789", min_size=1, max_size=64), st.integers(0, 10**6))
def test_what_is_written_is_read(value, age):
    written = write_cookie(NAME, value, max_age=age)
    pair, *attributes = written.split("; ")
    assert read_cookie([pair.encode()], NAME) == value
    assert attributes == ["Path=/", f"Max-Age={age}", "HttpOnly", "Secure", "SameSite=Strict"]
