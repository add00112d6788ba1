# SPDX-License-Identifier: Apache-2.0
from mezite.core.certificates.refusal import CertificateRefused, Reason


def test_a_refusal_has_a_reason_for_programs_and_a_message_for_people():
    refused = CertificateRefused(Reason.EXPIRED, "it expired")
    assert refused.reason is Reason.EXPIRED
    assert str(refused) == refused.message == "it expired"


def test_reasons_are_stable_words():
    for reason in Reason:
        assert reason.value == reason.name.lower()
