# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.certificates.identity import (
    MAX_REQUEST_IDS,
    IdentityError,
    PeerKind,
    check_device_id,
    decode_request_ids,
    decode_roles,
    decode_traits,
    encode_request_ids,
    encode_roles,
    encode_traits,
    identity_uri,
    parse_identity_uri,
)
from mezite.core.names import InvalidNameError
from mezite.testing.strategies.core_texts import role_names, traits, user_names


@pytest.mark.parametrize(
    ("kind", "name", "uri"),
    [
        (PeerKind.AGENT, "0190f1d2-7c3b", "mezite://prod.example/agent/0190f1d2-7c3b"),
        (PeerKind.HUB, "hub-1", "mezite://prod.example/hub/hub-1"),
        (PeerKind.USER, "alice@example.com", "mezite://prod.example/user/alice@example.com"),
    ],
)
def test_identities(kind, name, uri):
    assert identity_uri("prod.example", kind, name) == uri
    assert parse_identity_uri(uri) == ("prod.example", kind, name)


@given(user_names())
def test_every_user_name_has_one_uri(name):
    assert parse_identity_uri(identity_uri("c", PeerKind.USER, name)) == ("c", PeerKind.USER, name)


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("", "^the identity is not of the form mezite://CLUSTER/KIND/NAME$"),
        ("mezite://c/agent", "not of the form"),
        ("mezite://c/agent/a/b", "not of the form"),
        ("https://c/agent/a", "not of the form"),
        ("mezite://c/robot/a", "unknown kind 'robot'"),
        ("mezite://c/AGENT/a", "unknown kind 'AGENT'"),
        ("mezite:///agent/a", "cluster name is empty"),
        ("mezite://C/agent/a", "not acceptable: cluster name 'C'"),
        ("mezite://c/agent/A", "not acceptable: id 'A'"),
        ("mezite://c/user/a%41", "not acceptable: user name"),
    ],
)
def test_other_uris_are_refused_f4(uri, why):
    with pytest.raises(IdentityError, match=why):
        parse_identity_uri(uri)


def test_bad_names_have_no_uri():
    with pytest.raises(InvalidNameError):
        identity_uri("C", PeerKind.HUB, "h")
    with pytest.raises(InvalidNameError):
        identity_uri("c", PeerKind.HUB, "h/x")


@given(st.lists(role_names(), max_size=5, unique=True))
def test_roles_survive(roles):
    assert decode_roles(encode_roles(roles)) == tuple(roles)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (",", "a role is listed twice"),
        (",a", "role name is empty"),
        ("a,", "role name is empty"),
        ("a,,b", "role name is empty"),
        ("a,a", "a role is listed twice"),
        ("A", "role name 'A'"),
        ("a b", "role name 'a b'"),
        (",".join(f"r{n}" for n in range(65)), "65 roles are more than the 64 a certificate can carry"),
    ],
)
def test_other_role_lists_are_refused(text, why):
    with pytest.raises(IdentityError, match=f"^{why}"):
        decode_roles(text)


def test_as_many_roles_as_a_certificate_carries():
    roles = tuple(f"r{number}" for number in range(64))
    assert decode_roles(encode_roles(roles)) == roles


@given(traits())
def test_traits_survive(mapping):
    text = encode_traits(mapping)
    assert text.isascii()
    assert decode_traits(text) == mapping


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "^the traits are not JSON$"),
        ("{", "not JSON"),
        ("[" * 20_000, "not JSON"),
        ("9" * 5000, "not JSON"),
        ("[]", "^the traits are not a JSON object$"),
        ('{"a":"b"}', "^a trait is not a list of strings$"),
        ('{"a":[1]}', "not a list of strings"),
        ('{"a":["b"]} ', "not in canonical form"),
        ('{"b":[],"a":[]}', "not in canonical form"),
        ('{"a":[],"a":[]}', "not in canonical form"),
        ('{"a":["\\u0062"]}', "not in canonical form"),
        ('{"a":["é"]}', "not in canonical form"),
        ('{"1":[]}', "trait name '1'"),
    ],
)
def test_other_traits_are_refused(text, why):
    with pytest.raises(IdentityError, match=why):
        decode_traits(text)


def test_traits_of_the_largest_size_in_order():
    assert decode_traits(encode_traits({"a": ["x"] * 256})) == {"a": ("x",) * 256}
    assert decode_traits(encode_traits({"a": ["x" * 256]})) == {"a": ("x" * 256,)}
    assert encode_traits({"b": ["é"], "a": ["2", "1"]}) == '{"a":["2","1"],"b":["\\u00e9"]}'


@pytest.mark.parametrize(
    "mapping", [{"a": ["x"] * 257}, {"a": ["x" * 257]}, {"a": ["x"] * 200, "b": ["x"] * 57}]
)
def test_traits_have_a_limit(mapping):
    with pytest.raises(IdentityError, match="more than 256 values or one longer than 256"):
        encode_traits(mapping)


def test_access_requests_survive_in_order():
    assert encode_request_ids(["id-2", "id-1"]) == "id-1,id-2"
    assert decode_request_ids("id-1,id-2") == ("id-1", "id-2")
    most = [f"id-{number:02}" for number in range(MAX_REQUEST_IDS)]
    assert decode_request_ids(encode_request_ids(most)) == tuple(most)


@pytest.mark.parametrize(
    ("listed", "why"),
    [
        (
            [f"id-{number:02}" for number in range(MAX_REQUEST_IDS + 1)],
            f"^{MAX_REQUEST_IDS + 1} access requests are",
        ),
        (["id-1", "id-1"], "^an access request is listed twice$"),
    ],
)
def test_access_requests_that_no_certificate_carries(listed, why):
    with pytest.raises(IdentityError, match=why):
        encode_request_ids(listed)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "id is empty"),
        (",", "an access request is listed twice"),
        ("a,", "id is empty"),
        ("b,a", "the access requests are not in order"),
        ("a,a", "an access request is listed twice"),
        ("A", "id 'A'"),
        ("a b", "id 'a b'"),
        (",".join("abcdefghijklmnopq"), "17 access requests are more"),
    ],
)
def test_other_lists_of_access_requests_are_refused(text, why):
    with pytest.raises(IdentityError, match=f"^{why}"):
        decode_request_ids(text)


def test_device_ids():
    assert check_device_id("id-1") == "id-1"
    with pytest.raises(IdentityError):
        check_device_id("a,b")
