# SPDX-License-Identifier: Apache-2.0
from mezite.core.assertion.refusal import AssertionReason, AssertionRefused


def test_a_refusal_has_a_reason_and_a_sentence():
    refused = AssertionRefused(AssertionReason.EXPIRED, "too old")
    assert (refused.reason, refused.message, str(refused)) == (AssertionReason.EXPIRED, "too old", "too old")


def test_reasons_are_stable():
    """Backends count them."""
    assert [reason.value for reason in AssertionReason] == [
        "missing",
        "malformed",
        "wrong_algorithm",
        "unknown_key",
        "bad_signature",
        "wrong_audience",
        "wrong_app",
        "wrong_issuer",
        "expired",
        "not_yet_valid",
    ]
