# SPDX-License-Identifier: Apache-2.0
"""RFC 6238's own vectors, and what is accepted when."""

from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from mezite.core.totp import STEP_SECONDS, matching_step, provisioning_uri, secret_text, totp_code

SECRET = b"12345678901234567890"

# RFC 6238 appendix B, SHA-1: eight digits there, of which the last six are the six-digit code.
VECTORS = [
    (59, "94287082"),
    (1111111109, "07081804"),
    (1111111111, "14050471"),
    (1234567890, "89005924"),
    (2000000000, "69279037"),
    (20000000000, "65353130"),
]


@pytest.mark.parametrize(("time", "code"), VECTORS)
def test_the_vectors_of_the_rfc(time, code):
    assert totp_code(SECRET, time // STEP_SECONDS) == code[-6:]
    assert matching_step(SECRET, code[-6:], now=time) == time // STEP_SECONDS


# RFC 4226 appendix D: the same with a counter.
@pytest.mark.parametrize(
    ("counter", "code"),
    list(enumerate(["755224", "287082", "359152", "969429", "338314", "254676"])),
)
def test_the_vectors_of_hotp(counter, code):
    assert totp_code(SECRET, counter) == code


def test_one_step_to_either_side():
    now = 1_000 * STEP_SECONDS
    found = {step: matching_step(SECRET, totp_code(SECRET, step), now=now) for step in range(996, 1005)}
    assert found == {step: step if 999 <= step <= 1001 else None for step in range(996, 1005)}


@pytest.mark.parametrize(
    "code",
    ["", "1", "0287082", "287082 ", " 287082", "\uff12\uff18\uff17\uff10\uff18\uff12", "287 082", "\ud800"],
)
def test_no_other_spelling_is_the_code(code):
    assert matching_step(SECRET, "287082", now=STEP_SECONDS) == 1
    assert matching_step(SECRET, code, now=STEP_SECONDS) is None


def test_what_the_qr_code_says():
    uri = provisioning_uri(SECRET, issuer="the cluster", account="alice@example.com")
    parts = urlsplit(uri)
    assert (parts.scheme, parts.netloc) == ("otpauth", "totp")
    assert unquote(parts.path) == "/the cluster:alice@example.com"
    assert parse_qs(parts.query) == {
        "secret": ["GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"],
        "issuer": ["the cluster"],
        "algorithm": ["SHA1"],
        "digits": ["6"],
        "period": ["30"],
    }
    assert secret_text(b"x" * 16).rstrip("=") == secret_text(b"x" * 16)
