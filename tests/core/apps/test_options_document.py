# SPDX-License-Identifier: Apache-2.0
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.apps.app import AppOptions, InvalidAppError
from mezite.core.apps.options_document import options_document, parse_options


def test_defaults_are_nothing() -> None:
    assert options_document(AppOptions()) == {}
    assert parse_options({}) == AppOptions()


OPTIONS = st.builds(
    AppOptions,
    cors_origins=st.lists(st.sampled_from(["https://a.example", "http://localhost:1"]), max_size=2).map(
        tuple
    ),
    ca_pem=st.sampled_from(["", "-----BEGIN CERTIFICATE-----"]),
    request_headers=st.dictionaries(st.sampled_from(["x-a", "host"]), st.sampled_from(["", "b"])),
    max_body=st.integers(0, 2**40),
    rewrite_location=st.booleans(),
    http1_only=st.booleans(),
)


@given(OPTIONS)
def test_through_json_and_back(options: AppOptions) -> None:
    assert parse_options(json.loads(json.dumps(options_document(options)))) == options


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ([], "not a map"),
        ({"future": 1}, "'future' is not known"),
        ({"max_body": "1"}, "'max_body' has a value of another kind"),
        ({"max_body": True}, "another kind"),
        ({"rewrite_location": 1}, "another kind"),
        ({"cors_origins": "https://a"}, "another kind"),
        ({"cors_origins": [1]}, "another kind"),
        ({"request_headers": []}, "another kind"),
        ({"request_headers": {"a": 1}}, "another kind"),
        ({"max_body": -1}, "less than 0"),
    ],
)
def test_what_is_stored_and_not_understood(document: object, why: str) -> None:
    with pytest.raises(InvalidAppError, match=why):
        parse_options(document)
