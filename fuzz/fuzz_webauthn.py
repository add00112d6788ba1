# SPDX-License-Identifier: Apache-2.0
"""Claim: an answer of a security key is accepted only with the client data and authenticator data that the key has
signed for this challenge, and a new key only with an id of its own; the reason of a refusal can be kept in a log.

Allowed exceptions: RefusedCredentialError, from the relying party.
"""

import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec
from webauthn.helpers import base64url_to_bytes

from mezite.services.factors.relying_party import RefusedCredentialError, RelyingParty
from mezite.testing.software_key import SoftwareKey, to_base64url

PARTY = RelyingParty(id="hub.example.com", origin="https://hub.example.com", name="test")
CHALLENGE, HANDLE = bytes(range(32)), bytes(range(32, 64))
KEY = SoftwareKey(origin=PARTY.origin, private=ec.derive_private_key(7, ec.SECP256R1()))
CREATED = KEY.create(PARTY.creation_options("alice", HANDLE, CHALLENGE, []))
ENROLLED = PARTY.verified_creation(CREATED, challenge=CHALLENGE)
SHOWN = KEY.get(PARTY.request_options(CHALLENGE, [ENROLLED.credential_id], verify_user=False))
MEMBERS = ("clientDataJSON", "authenticatorData", "signature", "attestationObject", "userHandle")


def check(data: bytes) -> None:
    """Which member of a good answer, a position, and bytes to put over what is in it; or the whole answer as JSON."""
    which, position, patch = data[:1], int.from_bytes(data[1:3], "big"), data[3:]
    number = int.from_bytes(which, "big") % (2 * len(MEMBERS) + 1)
    if number == 2 * len(MEMBERS):
        try:
            document = json.loads(data[1:])
        except (ValueError, RecursionError):
            return
        if isinstance(document, dict):
            check_assertion(document)
            check_creation(document)
        return
    name, is_raw = MEMBERS[number // 2], bool(number % 2)
    check_assertion(changed(SHOWN, name, position, patch, is_raw=is_raw))
    check_creation(changed(CREATED, name, position, patch, is_raw=is_raw))


def changed(
    answer: dict[str, Any], name: str, position: int, patch: bytes, *, is_raw: bool
) -> dict[str, Any]:
    before = answer["response"].get(name, "")
    if is_raw:
        text = patch.decode("utf-8", "surrogateescape")
        after = before[:position] + text + before[position + len(text) :]
    else:
        old = base64url_to_bytes(before)
        after = to_base64url(old[:position] + patch + old[position + len(patch) :])
    return {**answer, "response": {**answer["response"], name: after}}


def check_assertion(answer: dict[str, Any]) -> None:
    try:
        PARTY.verified_assertion(
            answer, challenge=CHALLENGE, public_key=ENROLLED.public_key, handle=HANDLE, verify_user=True
        )
    except RefusedCredentialError as refused:
        check_reason(str(refused))
        return
    # As the library reads base64url: letters that are none are passed over.
    for name in ("clientDataJSON", "authenticatorData"):
        assert base64url_to_bytes(answer["response"][name]) == base64url_to_bytes(SHOWN["response"][name])


def check_creation(answer: dict[str, Any]) -> None:
    try:
        enrolled = PARTY.verified_creation(answer, challenge=CHALLENGE)
    except RefusedCredentialError as refused:
        check_reason(str(refused))
        return
    client = json.loads(base64url_to_bytes(answer["response"]["clientDataJSON"]))
    assert client["type"] == "webauthn.create"
    assert client["origin"] == PARTY.origin
    assert base64url_to_bytes(client["challenge"]) == CHALLENGE
    assert base64url_to_bytes(enrolled.credential_id) == base64url_to_bytes(answer["id"])


def check_reason(reason: str) -> None:
    assert reason.isprintable()
    assert len(reason) < 300
