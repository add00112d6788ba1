# SPDX-License-Identifier: Apache-2.0
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.certificates.identity import IdentityError
from mezite.core.certificates.x509_extensions import ARC, decode_utf8, encode_utf8, parse_generation


def test_the_arc_is_the_documented_uuid():
    assert f"2.25.{uuid.UUID('6f1d3c52-8f0e-4b7a-9d43-2c6a5be1f0d7').int}" == ARC


@pytest.mark.parametrize(
    ("text", "der"),
    [
        ("", "0c00"),
        ("web-1", "0c057765622d31"),
        ("x" * 127, "0c7f" + "78" * 127),
        ("x" * 128, "0c8180" + "78" * 128),
        ("x" * 256, "0c820100" + "78" * 256),
    ],
)
def test_der(text, der):
    assert encode_utf8(text) == bytes.fromhex(der)
    assert decode_utf8(bytes.fromhex(der)) == text


@given(st.text(st.characters(codec="utf-8"), max_size=300))
def test_text_survives(text):
    assert decode_utf8(encode_utf8(text)) == text


@pytest.mark.parametrize(
    "der", ["", "0c", "0c01", "0d0178", "0c810178", "0c80", "0cff", "1600", "0c017879", "0c0078"]
)
def test_other_der_is_refused(der):
    with pytest.raises(IdentityError, match=r"^an identity extension is not a DER UTF8String$"):
        decode_utf8(bytes.fromhex(der))


@pytest.mark.parametrize("der", ["0c01ff", "0c0178ff", "0c02c3", "0c03eda080"])
def test_what_is_not_utf_8_is_refused(der):
    with pytest.raises(IdentityError, match=r"^an identity extension is not UTF-8$"):
        decode_utf8(bytes.fromhex(der))


def test_generations():
    assert parse_generation("1") == 1
    assert parse_generation("9999999999") == 9_999_999_999
    for text in ("", "0", "01", "-1", "1 ", "x", "٣", "10000000000"):
        with pytest.raises(IdentityError, match=r"^the generation is not a decimal number from 1$"):
            parse_generation(text)
