# SPDX-License-Identifier: Apache-2.0
import pytest

from mezite.core.oidc.answers import ProviderError, parse_object, shown, text_in


def test_an_object():
    assert parse_object(b'{"a": [1]}', "it") == {"a": [1]}
    assert parse_object('{"a": "\\u00e4"}', "it") == {"a": "ä"}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>",
        b'{"a": 1, "a": 2}',
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b"[" * 100_000,
        b"\xff",
        b"1" * 5000,
    ],
)
def test_what_is_none(data):
    """Threat P21."""
    with pytest.raises(ProviderError, match="it is not JSON, or ambiguous: it begins with"):
        parse_object(data, "it")


@pytest.mark.parametrize("data", [b"[]", b"1", b"null", b'"x"'])
def test_other_values(data):
    with pytest.raises(ProviderError, match="it is not a JSON object"):
        parse_object(data, "it")


@pytest.mark.parametrize("value", [None, "", 1, ["x"]])
def test_missing_text(value):
    with pytest.raises(ProviderError, match="it has no name"):
        text_in({"name": value}, "name", "it")
    assert text_in({"name": "x"}, "name", "it") == "x"


def test_words_of_others_are_quoted_and_short():
    assert shown("a\nb") == "'a\\nb'"
    assert len(shown("x" * 1000)) == 121
