# SPDX-License-Identifier: Apache-2.0
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.fuzz_join_token import check
from mezite.core.join_token import InvalidJoinTokenError, format_join_token, parse_ca_pin, parse_join_token

PIN = "0123456789abcdef" * 4
TOKEN = format_join_token(bytes(range(32)), PIN)


def test_the_text_form():
    assert f"mzt_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8.{PIN}" == TOKEN
    assert format_join_token(bytes(range(32)), f"sha256:{PIN}") == TOKEN


@given(st.binary(min_size=32, max_size=32), st.binary(min_size=32, max_size=32))
def test_what_is_written_reads_back(random, pin):
    text = format_join_token(random, pin.hex())
    token = parse_join_token(f"  {text}\n")
    assert f"mzt_{token.secret}.{token.ca_pin}" == text
    assert token.ca_pin == pin.hex()


def test_only_the_hash_is_for_storing_and_the_repr_hides_the_secret_p27():
    token = parse_join_token(TOKEN)
    assert token.secret_hash() == hashlib.sha256(token.secret.encode()).hexdigest()
    assert token.secret not in repr(token)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_token_takes_32_random_bytes(size):
    with pytest.raises(ValueError, match="32 random bytes"):
        format_join_token(bytes(size), PIN)


SECRET = TOKEN.removeprefix("mzt_").partition(".")[0]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        (" \n", "is empty"),
        (TOKEN.removeprefix("mzt_"), "does not begin with mzt_"),
        (f"MZT_{SECRET}.{PIN}", "does not begin with mzt_"),
        (f"mzt_{SECRET}", "no '.' before the CA pin: was it cut off"),
        (f"mzt_.{PIN}", "is empty or has characters"),
        (f"mzt_{SECRET[:-1]}+.{PIN}", "is empty or has characters"),
        (f"mzt_{SECRET[:20]} {SECRET[20:]}.{PIN}", "is empty or has characters"),
        (f"mzt_{SECRET[1:]}.{PIN}", "42 characters instead of 43"),
        (f"mzt_{SECRET}A.{PIN}", "44 characters instead of 43"),
        (f"mzt_{SECRET}.", "CA pin is missing"),
        (f"mzt_{SECRET}.{PIN[1:]}", "63 digits instead of 64: was it cut off"),
        (f"mzt_{SECRET}.{PIN}0", "65 digits instead of 64"),
        (f"mzt_{SECRET}.{PIN.upper()}", "other than 0-9 and a-f"),
        (f"mzt_{SECRET}. {PIN}", "other than 0-9 and a-f"),
        (f"mzt_{SECRET}.sha256:{PIN}", "written without sha256:"),
        (f"mzt_{SECRET}.{PIN}\n{TOKEN}", "other than 0-9 and a-f"),
    ],
)
def test_each_kind_of_damage_has_its_message(text, why):
    with pytest.raises(InvalidJoinTokenError, match=why) as caught:
        parse_join_token(text)
    assert SECRET not in str(caught.value)


def test_pins_are_read_with_and_without_their_label():
    assert parse_ca_pin(f"sha256:{PIN}") == parse_ca_pin(f" {PIN}\n") == PIN
    with pytest.raises(InvalidJoinTokenError, match="missing"):
        parse_ca_pin("sha256:")


@given(st.binary(max_size=200) | st.text("mzt_.aA0-", max_size=120).map(str.encode))
def test_fuzz_claim(data):
    check(data)
