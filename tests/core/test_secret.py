# SPDX-License-Identifier: Apache-2.0
"""A secret never shows itself (H6, P27)."""

import pickle

import attrs
import pytest

from mezite.core.secret import Secret, token_hash

CANARY = "canary-5a1f"


@attrs.frozen
class Holder:
    passphrase: Secret


@pytest.mark.parametrize(
    "show",
    [
        repr,
        str,
        "{}".format,
        "{:>40}".format,
        lambda s: f"{s!r}",
        lambda s: repr(Holder(s)),
    ],
)
def test_no_way_of_printing_shows_the_text(show):
    assert CANARY not in show(Secret(CANARY))
    assert show(Secret(CANARY)) == show(Secret(CANARY + "x")), "not even its length"


def test_reveal_is_the_one_way_out():
    assert Secret(CANARY).reveal() == CANARY


def test_pickling_is_refused():
    with pytest.raises(TypeError, match="not serialised"):
        pickle.dumps(Secret(CANARY))


def test_equality_is_by_text_and_only_among_secrets():
    assert Secret("a") == Secret("a")
    assert Secret("a") != Secret("b")
    assert Secret("a") != "a"
    assert Secret("\ud800") == Secret("\ud800"), "environment text may hold lone surrogates"


def test_a_secret_is_not_hashable():
    with pytest.raises(TypeError):
        hash(Secret("a"))


def test_emptiness_can_be_asked():
    assert not Secret("")
    assert Secret("x")


def test_what_is_stored_of_a_token():
    """SHA-256 in hex; the first vector is of FIPS 180-2, the second text is none that UTF-8 has."""
    assert token_hash("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert len(token_hash("\udc80")) == 64
