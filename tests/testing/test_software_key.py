# SPDX-License-Identifier: Apache-2.0
"""The key by itself does what the library accepts; what the hub refuses is in tests/services."""

import webauthn

from mezite.testing.software_key import SoftwareKey, from_base64url, to_base64url

ORIGIN = "https://hub.example.com"
CREATE = {"rp": {"id": "hub.example.com"}, "challenge": to_base64url(b"challenge")}
GET = {"rpId": "hub.example.com", "challenge": to_base64url(b"another")}


def test_base64url_comes_back():
    for length in range(5):
        text = to_base64url(bytes(range(250, 250 + length)))
        assert "=" not in text
        assert from_base64url(text) == bytes(range(250, 250 + length))


def test_a_key_is_created_and_used():
    for attestation in ("none", "packed"):
        key = SoftwareKey(origin=ORIGIN)
        created = webauthn.verify_registration_response(
            credential=key.create(CREATE, attestation=attestation),
            expected_challenge=b"challenge",
            expected_rp_id="hub.example.com",
            expected_origin=ORIGIN,
            require_user_verification=True,
        )
        assert (created.credential_id, created.fmt) == (key.credential_id, attestation)
        used = webauthn.verify_authentication_response(
            credential=key.get(GET),
            expected_challenge=b"another",
            expected_rp_id="hub.example.com",
            expected_origin=ORIGIN,
            credential_public_key=created.credential_public_key,
            credential_current_sign_count=0,
        )
        assert (used.new_sign_count, used.user_verified) == (1, True)


def test_one_that_does_not_count():
    key = SoftwareKey(origin=ORIGIN, counts=False, verifies_user=False)
    assert from_base64url(key.get(GET)["response"]["authenticatorData"])[32:] == b"\x01\0\0\0\0"
