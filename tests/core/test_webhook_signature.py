# SPDX-License-Identifier: Apache-2.0
import pytest

from mezite.core.webhook_signature import SIGNATURE_HEADERS, signature_headers, signature_is_valid

SECRET, BODY = b"0123456789abcdef", b'{"event":"access_request.created"}'


def test_what_is_signed_is_what_is_verified():
    headers = dict(signature_headers(SECRET, "id-1", 1_800_000_000, BODY))
    assert tuple(headers) == SIGNATURE_HEADERS
    assert headers["mezite-webhook-timestamp"] == "1800000000"
    # openssl dgst -sha256 -hmac 0123456789abcdef, over the id, the time and the body joined by dots
    known = "v1=2710b84102033d72de35574b5f5d5ccf0f19407e46f6a386fa95a0ee9755263a"
    assert headers["mezite-webhook-signature"] == known
    assert signature_is_valid(SECRET, *headers.values(), BODY)


@pytest.mark.parametrize("changed", range(5))
def test_every_part_counts(changed):
    headers = dict(signature_headers(SECRET, "id-1", 1_800_000_000, BODY))
    parts = [SECRET, *headers.values(), BODY]
    parts[changed] = parts[changed] + (b"x" if isinstance(parts[changed], bytes) else "x")
    assert not signature_is_valid(*parts)
