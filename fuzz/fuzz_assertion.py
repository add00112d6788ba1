# SPDX-License-Identifier: Apache-2.0
"""Claim: any text is either refused as an assertion or is the very one that the cluster's key has signed; any
document is either refused as a key set or has only keys that may verify one.

Allowed exceptions: AssertionRefused from the verifier, InvalidKeySetError from the key set.
"""

import base64
import json
import string

from cryptography.hazmat.primitives.asymmetric import ec

from mezite.core.assertion.claims import AssertionClaims
from mezite.core.assertion.key_set import AssertionKeys, InvalidKeySetError
from mezite.core.assertion.refusal import AssertionRefused
from mezite.core.assertion.signer import AssertionSigner
from mezite.core.assertion.verifier import key_id_of, verify_assertion
from mezite.core.certificates.jwk import public_jwk

NOW = 1_800_000_000
AUDIENCE = "http://127.0.0.1:3000"
KEY = ec.derive_private_key(4711, ec.SECP256R1())
"""Known to everyone and good for nothing."""

JWK = public_jwk(KEY.public_key())
DOCUMENT = json.dumps({"keys": [JWK]}).encode()
KEYS = AssertionKeys.parse(DOCUMENT)
# One signature for the whole run: each has another random number in it.
TOKEN = (
    AssertionSigner(KEY)
    .sign(
        AssertionClaims(
            issuer="https://hub",
            audience=AUDIENCE,
            subject="alice",
            roles=("access",),
            app="grafana",
            jti="1",
            issued_at=NOW,
        )
    )
    .token
)
ALPHABET = string.ascii_letters + string.digits + "-_.="


def check(data: bytes) -> None:
    """What to do, two bytes of position, and bytes to put over or into a good one; or all by themselves."""
    mode, position, patch = data[:1], int.from_bytes(data[1:3], "big"), data[3:]
    letters = "".join(ALPHABET[byte % len(ALPHABET)] for byte in patch)
    match int.from_bytes(mode, "big") % 6:
        case 0:
            check_token(TOKEN[:position] + letters + TOKEN[position + len(letters) :])
        case 1:
            check_token(TOKEN[:position] + letters + TOKEN[position:])
        case 2:
            check_token(patch)
        case 3:
            # Header or claims that are any bytes at all, under the signature of others.
            check_token(AssertionSigner(KEY)._header.decode() + "." + encoded(patch) + "." + TOKEN[-86:])
        case 4:
            check_document(patch)
        case _:
            check_document(DOCUMENT[:position] + patch + DOCUMENT[position + len(patch) :])


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def check_token(token: str | bytes) -> None:
    try:
        key_id_of(token)
        caller = verify_assertion(token, KEYS, audience=AUDIENCE, now=NOW)
    except AssertionRefused as refused:
        check_message(refused.message)
    else:
        assert token in (TOKEN, TOKEN.encode())
        assert caller.user == "alice"


def check_message(message: str) -> None:
    assert message.isprintable()


def check_document(document: bytes) -> None:
    try:
        keys = AssertionKeys.parse(document)
    except InvalidKeySetError:
        return
    assert keys.by_id
    for key in keys.by_id.values():
        assert key.curve.name == "secp256r1"
