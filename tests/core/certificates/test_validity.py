# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.certificates.refusal import CertificateRefused, Reason
from mezite.core.certificates.validity import BACKDATE_SECONDS, Validity, check_window


def test_windows_begin_five_minutes_ago_f6():
    assert BACKDATE_SECONDS == 300
    assert Validity.starting(1000, 60) == Validity(700, 1060)


@given(st.integers(0, 2**64), st.integers(1, 2**40), st.integers(0, 2**64))
def test_the_window_is_half_open(start, length, now):
    try:
        check_window("it", start, start + length, now)
    except CertificateRefused as error:
        expected = Reason.NOT_YET_VALID if now < start else Reason.EXPIRED
        assert error.reason is expected
        assert not start <= now < start + length
    else:
        assert start <= now < start + length


def test_a_clock_that_is_ten_minutes_behind_is_told_so_f6():
    """Issued at 12:00:00 by the hub's clock, looked at when ours says 11:50:00."""
    hub_now = 1_800_000_000
    window = Validity.starting(hub_now, 3600)
    with pytest.raises(CertificateRefused, match=r"not valid for another 300 s .*your clock is 600 s off"):
        check_window("the certificate", window.not_before, window.not_after, hub_now - 600)


def test_an_expired_certificate_says_since_when_f6():
    with pytest.raises(
        CertificateRefused,
        match=r"expired 42 s ago \(at 1970-01-01T00:16:40Z, here it is 1970-01-01T00:17:22Z\).*at least 42 s off",
    ):
        check_window("the certificate", 0, 1000, 1042)


def test_the_first_second_after_the_window_counts_as_one():
    with pytest.raises(CertificateRefused, match=r"expired 1 s ago .*at least 1 s off"):
        check_window("the certificate", 0, 1000, 1000)


@pytest.mark.parametrize(("start", "end"), [(10, 10), (10, 9)])
def test_a_window_without_a_second_is_malformed(start, end):
    with pytest.raises(CertificateRefused, match="ends before it begins") as caught:
        check_window("it", start, end, 10)
    assert caught.value.reason is Reason.MALFORMED
