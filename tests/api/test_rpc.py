# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.api.rpc import CallContext, RpcError, StatusCode, decode_details, encode_details
from mezite.core.grpc.metadata import Metadata, decode_metadata, encode_metadata
from tests.api.echo_service import METHODS, PEER

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(st.dictionaries(TEXT, TEXT, max_size=5))
def test_details_round_trip(details):
    assert decode_details(decode_metadata(encode_metadata(encode_details(details)))) == details


def test_details_that_are_too_long_are_left_out():
    """D15: an error never fills the client's header block."""
    assert encode_details({"k": "x" * 5000}) == []
    assert encode_details({}) == []


def test_values_that_are_no_text_are_left_out():
    assert decode_details(Metadata((("mezite-details-bin", b'{"a": 1, "b": "x"}'),))) == {"b": "x"}


def test_service_of_a_method():
    assert METHODS[0].service == "test.Echo"


def test_an_error_without_text():
    assert str(RpcError(StatusCode.ABORTED)) == "ABORTED: "
    assert RpcError(StatusCode.ABORTED).details == {}


@pytest.mark.parametrize(
    ("value", "token"),
    [
        (None, None),
        ("", None),
        ("Bearer", None),
        ("Bearer ", None),
        ("Basic abc", None),
        ("Bearer abc", "abc"),
        ("bearer abc", "abc"),
        ("Bearer a b", "a b"),
    ],
)
def test_bearer_tokens(value, token):
    metadata = Metadata(() if value is None else (("authorization", value),))
    context = CallContext(method=METHODS[0], metadata=metadata, peer=PEER, deadline=None)
    assert context.bearer_token == token
