# SPDX-License-Identifier: Apache-2.0
"""Claim: a cookie is read from any Cookie fields only when exactly one pair in them has its name, and then whole.

Allowed exceptions: none.
"""

from mezite.core.cookies import SESSION_COOKIE, read_cookie

ALPHABET = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_-")


def check(data: bytes) -> None:
    """Fields, one a line."""
    fields = data.split(b"\n")
    value = read_cookie(fields, SESSION_COOKIE)
    ours = SESSION_COOKIE.encode()
    pairs = [pair.removeprefix(b" ") for field in fields for pair in field.split(b";")]
    named = [pair for pair in pairs if pair == ours or pair.startswith(ours + b"=")]
    if value is None:
        assert len(named) != 1 or not is_value(named[0].partition(b"=")[2])
        return
    assert is_value(value.encode())
    (pair,) = named
    assert pair == ours + b"=" + value.encode()
    # One more of the name, whatever is in it, and there is none that could be believed.
    assert read_cookie([*fields, ours], SESSION_COOKIE) is None


def is_value(data: bytes) -> bool:
    return 0 < len(data) <= 256 and ALPHABET.issuperset(data.decode("latin-1"))
