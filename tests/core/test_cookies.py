# SPDX-License-Identifier: Apache-2.0
"""Our cookie, or none (threat D17)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.cookies import read_cookie, read_session, seal_of, write_cookie

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


MINE, THEIRS = "a" * 64, "b" * 64
SEALED = f"__Host-mezite_seal={seal_of(MINE)}".encode()
UNSEALED = f"mezite_session={MINE}".encode()
TOSSED = f"mezite_session={THEIRS}".encode()


@pytest.mark.parametrize(
    ("fields", "browser", "program"),
    [
        ([UNSEALED, SEALED], MINE, MINE),
        ([b"x=1; " + SEALED + b"; " + UNSEALED], MINE, MINE),
        # Threat D17: a sibling's page has set one for the whole domain. It neither leads into another session ...
        ([TOSSED], None, THEIRS),
        ([SEALED, TOSSED], None, None),
        # ... nor out of this one, wherever it stands.
        ([TOSSED + b"; " + SEALED + b"; " + UNSEALED], MINE, MINE),
        ([UNSEALED + b"; " + TOSSED, SEALED], MINE, MINE),
        ([b"mezite_session=; mezite_session=\xff", SEALED, UNSEALED], MINE, MINE),
        ([b"; ".join([TOSSED] * 63), UNSEALED, SEALED], MINE, MINE),
        ([b"; ".join([TOSSED] * 64), UNSEALED, SEALED], None, None),
        ([UNSEALED, SEALED, SEALED], None, MINE),
        ([UNSEALED, b"__Host-mezite_seal=" + seal_of(THEIRS).encode()], None, None),
        ([UNSEALED, b"__host-" + SEALED.removeprefix(b"__Host-")], None, MINE),
        ([UNSEALED, TOSSED], None, None),
        ([SEALED], None, None),
        ([], None, None),
    ],
)
def test_the_session_that_this_host_has_set(fields, browser, program):
    assert read_session(fields, from_browser=True) == browser
    assert read_session(fields, from_browser=False) == program


def test_a_seal():
    """Its value is in browsers for twelve hours: changing how it is made logs all of them out."""
    assert seal_of(MINE) == "350988b6bb1c915ba896b9859298e36c3188203f8946fc3c338575399716471b"
    assert len({seal_of(MINE), seal_of(THEIRS), seal_of("")}) == 3
