# SPDX-License-Identifier: Apache-2.0
"""What the hub is to browsers, and that whatever they send is accepted or one refusal. The ceremony: test_key_login."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mezite.services.factors.relying_party import (
    NoRelyingPartyError,
    RefusedCredentialError,
    relying_party,
    user_handle,
)
from mezite.testing.software_key import SoftwareKey, from_base64url, to_base64url

ORIGIN = "https://hub.example.com"
PARTY = relying_party(ORIGIN, "test")
CHALLENGE, HANDLE = bytes(range(32)), user_handle("test", "alice", 1)


@pytest.mark.parametrize(
    ("url", "party_id", "origin"),
    [
        (ORIGIN, "hub.example.com", ORIGIN),
        ("https://hub.example.com:3080", "hub.example.com", "https://hub.example.com:3080"),
        ("https://localhost:3080", "localhost", "https://localhost:3080"),
        ("https://127.0.0.1:3080", "localhost", "https://localhost:3080"),
        ("https://[::1]:3080", "localhost", "https://localhost:3080"),
        ("https://127.0.0.1", "localhost", "https://localhost"),
    ],
)
def test_where_keys_belong(url, party_id, origin):
    party = relying_party(url, "test")
    assert (party.id, party.origin) == (party_id, origin)


@pytest.mark.parametrize("url", ["https://192.0.2.1", "https://[2001:db8::1]:3080"])
def test_no_browser_ties_a_key_to_an_address(url):
    with pytest.raises(NoRelyingPartyError, match=r"proxy\.public_addr"):
        relying_party(url, "test")


def test_a_handle_is_no_name_and_one_persons():
    """A name that was given away again is another person."""
    handles = {user_handle(*who) for who in (("test", "alice", 1), ("test", "alice", 2), ("x", "alice", 1))}
    assert len(handles) == 3
    assert {len(handle) for handle in handles} == {32}


def created(key, party=PARTY, **changes):
    options = party.creation_options("alice", HANDLE, CHALLENGE, [])
    return party.verified_creation(key.create(options, **changes), challenge=CHALLENGE)


def test_a_policy_that_wants_a_pin():
    """Threat E7: what is wanted is the hub's to say, not the client's."""
    strict = relying_party(ORIGIN, "test", require_user_verification=True)
    assert strict.creation_options("alice", HANDLE, CHALLENGE, [])["authenticatorSelection"][
        "userVerification"
    ] == ("required")
    assert strict.request_options(CHALLENGE, [], verify_user=False)["userVerification"] == "required"
    key = SoftwareKey(origin=ORIGIN, verifies_user=False)
    with pytest.raises(RefusedCredentialError, match="verif"):
        created(key, strict)
    enrolled = created(key)
    assert not enrolled.verifies_user
    answer = key.get(strict.request_options(CHALLENGE, [], verify_user=False))
    asked = {"challenge": CHALLENGE, "public_key": enrolled.public_key, "handle": HANDLE}
    with pytest.raises(RefusedCredentialError, match="verif"):
        strict.verified_assertion(answer, **asked, verify_user=False)
    assert PARTY.verified_assertion(answer, **asked, verify_user=False).counter == 1


def test_a_handle_that_is_right():
    key = SoftwareKey(origin=ORIGIN)
    enrolled = created(key)
    answer = key.get(
        PARTY.request_options(CHALLENGE, [enrolled.credential_id], verify_user=True),
        response={"userHandle": to_base64url(HANDLE)},
    )
    found = PARTY.verified_assertion(
        answer, challenge=CHALLENGE, public_key=enrolled.public_key, handle=HANDLE, verify_user=True
    )
    assert found.counter == 1
    assert found.is_device_bound


def test_a_passkey_that_is_copied_says_so():
    key = SoftwareKey(origin=ORIGIN, synced=True)
    enrolled = created(key)
    answer = key.get(PARTY.request_options(CHALLENGE, [enrolled.credential_id], verify_user=True))
    found = PARTY.verified_assertion(
        answer, challenge=CHALLENGE, public_key=enrolled.public_key, handle=HANDLE, verify_user=True
    )
    assert not found.is_device_bound


BENT = st.tuples(st.integers(0, 400), st.binary(max_size=3))


@settings(max_examples=300)
@given(member=st.sampled_from(["clientDataJSON", "attestationObject"]), change=BENT)
def test_a_bent_new_key_is_one_refusal(member, change):
    """Never an error of ours."""
    key = SoftwareKey(origin=ORIGIN)
    credential = key.create(PARTY.creation_options("alice", HANDLE, CHALLENGE, []))
    bend(credential, member, change)
    try:
        PARTY.verified_creation(credential, challenge=CHALLENGE)
    except RefusedCredentialError as refused:
        assert len(str(refused)) <= 200


KEY = SoftwareKey(origin=ORIGIN)
ENROLLED = created(KEY)


@settings(max_examples=300)
@given(member=st.sampled_from(["clientDataJSON", "authenticatorData", "signature"]), change=BENT)
def test_a_bent_answer_is_refused(member, change):
    """Every byte of it is signed."""
    credential = KEY.get(PARTY.request_options(CHALLENGE, [], verify_user=True))
    if not bend(credential, member, change):
        return
    with pytest.raises(RefusedCredentialError):
        PARTY.verified_assertion(
            credential,
            challenge=CHALLENGE,
            public_key=ENROLLED.public_key,
            handle=HANDLE,
            verify_user=True,
        )


def bend(credential, member, change):
    position, inserted = change
    data = from_base64url(credential["response"][member])
    at = position % len(data)
    bent = data[:at] + inserted + data[at + 1 :]
    credential["response"][member] = to_base64url(bent)
    return bent != data
