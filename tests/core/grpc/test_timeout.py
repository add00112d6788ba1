# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.errors import RemoteProtocolError
from mezite.core.grpc.status import StatusCode
from mezite.core.grpc.timeout import format_timeout, parse_timeout


@pytest.mark.parametrize(
    ("wire", "seconds"),
    [
        (b"1H", 3600.0),
        (b"2M", 120.0),
        (b"30S", 30.0),
        (b"500m", 0.5),
        (b"250u", 0.00025),
        (b"99999999n", 0.099999999),
        (b"0n", 0.0),
    ],
)
def test_parse(wire, seconds):
    assert parse_timeout(wire) == seconds


@pytest.mark.parametrize(
    "wire",
    [b"", b"S", b"1", b"1s", b"123456789S", b"-1S", b"+1S", b" 1S", b"1_0S", b"1.5S", b"1S\n", "٣S".encode()],
)
def test_malformed_timeouts_are_refused(wire):
    with pytest.raises(RemoteProtocolError) as caught:
        parse_timeout(wire)
    assert caught.value.code == StatusCode.INTERNAL


@pytest.mark.parametrize(
    ("seconds", "wire"),
    [
        (0, b"1n"),
        (-5, b"1n"),
        (0.001, b"1000000n"),
        (1.5, b"1500000u"),
        (30, b"30000000u"),
        (3600, b"3600000m"),
        (10**9, b"16666667M"),
        (10**10, b"2777778H"),
        (float("inf"), b"99999999H"),
    ],
)
def test_format(seconds, wire):
    assert format_timeout(seconds) == wire


@given(st.floats(min_value=1e-9, max_value=3e11))
def test_a_formatted_timeout_is_never_shorter_and_hardly_longer(seconds):
    read = parse_timeout(format_timeout(seconds))
    assert read >= seconds * (1 - 1e-9)
    assert read <= seconds * (1 + 1e-5) + 1e-9
