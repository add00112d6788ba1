# SPDX-License-Identifier: Apache-2.0
"""When a backend fetches the key set, on a clock of its own."""

import json

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from mezite.core.assertion.key_cache import MAX_AGE_S, MIN_PAUSE_S, AssertionKeyCache
from mezite.core.assertion.key_set import InvalidKeySetError
from mezite.core.assertion.refusal import AssertionReason, AssertionRefused
from mezite.core.assertion.signer import AssertionSigner
from mezite.core.assertion.verifier import verify_assertion
from mezite.core.certificates.jwk import public_jwk
from tests.core.assertion.forging import AUDIENCE, CLAIMS, JWK, KEY, NOW

NEXT = ec.derive_private_key(4713, ec.SECP256R1())
TOKEN, NEXT_TOKEN = (AssertionSigner(key).sign(CLAIMS).token for key in (KEY, NEXT))
BODY = json.dumps({"keys": [JWK]})
NEXT_BODY = json.dumps({"keys": [public_jwk(NEXT.public_key()), JWK]})


def test_the_first_request_fetches_and_nobody_else_meanwhile():
    cache = AssertionKeyCache()
    with pytest.raises(AssertionRefused) as refused:
        verify_assertion(TOKEN, cache.keys, audience=AUDIENCE, now=NOW)
    assert refused.value.reason is AssertionReason.UNKNOWN_KEY
    assert cache.claim_fetch(TOKEN, 0.0)
    assert not cache.claim_fetch(TOKEN, 0.0)
    assert not cache.claim_fetch(TOKEN, MIN_PAUSE_S - 0.1)
    cache.store(BODY, 0.2)
    assert verify_assertion(TOKEN, cache.keys, audience=AUDIENCE, now=NOW).user == "alice"


def test_a_fetch_that_failed_is_tried_again_after_a_pause():
    cache = AssertionKeyCache()
    assert cache.claim_fetch(TOKEN, 5.0)
    assert cache.claim_fetch(TOKEN, 5.0 + MIN_PAUSE_S)
    assert not cache.claim_fetch(TOKEN, 5.1 + MIN_PAUSE_S)


def test_a_key_set_is_fetched_again_when_it_is_an_hour_old():
    cache = AssertionKeyCache()
    assert cache.claim_fetch(TOKEN, 0.0)
    cache.store(BODY, 1.0)
    assert not cache.claim_fetch(TOKEN, MAX_AGE_S + 0.9)
    assert cache.claim_fetch(TOKEN, MAX_AGE_S + 1.0)
    with pytest.raises(InvalidKeySetError):
        cache.store("not a key set", MAX_AGE_S + 2.0)
    assert verify_assertion(TOKEN, cache.keys, audience=AUDIENCE, now=NOW)
    assert cache.claim_fetch(TOKEN, MAX_AGE_S + 1.0 + MIN_PAUSE_S), "what was no key set does not count"


def test_a_key_that_is_new_is_fetched_at_once_but_not_for_everybody_who_invents_one():
    cache = AssertionKeyCache()
    assert cache.claim_fetch(TOKEN, 0.0)
    cache.store(BODY, 0.0)
    assert not cache.claim_fetch(NEXT_TOKEN, MIN_PAUSE_S - 1)
    assert cache.claim_fetch(NEXT_TOKEN, MIN_PAUSE_S)
    assert not cache.claim_fetch(NEXT_TOKEN, MIN_PAUSE_S + 1)
    cache.store(NEXT_BODY, MIN_PAUSE_S + 1)
    assert verify_assertion(NEXT_TOKEN, cache.keys, audience=AUDIENCE, now=NOW)
    assert not cache.claim_fetch(NEXT_TOKEN, 2 * MIN_PAUSE_S + 2)


@pytest.mark.parametrize("token", [None, "", "x", b"a.b.c"])
def test_nothing_is_fetched_for_what_is_no_assertion(token):
    cache = AssertionKeyCache()
    assert cache.claim_fetch(TOKEN, 0.0)
    cache.store(BODY, 0.0)
    assert not cache.claim_fetch(token, MIN_PAUSE_S)
