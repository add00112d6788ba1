# SPDX-License-Identifier: Apache-2.0
from itertools import product

import pytest

from mezite.core.http1.client_fields import HOP_BY_HOP, is_reserved, one_spelling, spelled, without_reserved


@pytest.mark.parametrize("separators", list(product("-_.", repeat=2)))
@pytest.mark.parametrize("name", ["X{}Mezite{}User", "x{}forwarded{}for", "X{}Real{}Ip", "MEZITE{}JWT{}x"])
def test_fields_that_only_the_hub_writes_have_no_spelling(name: str, separators: tuple[str, str]) -> None:
    """D4."""
    assert is_reserved(name.format(*separators))


@pytest.mark.parametrize("name", sorted(HOP_BY_HOP))
def test_fields_about_the_connection_stay_on_it(name: str) -> None:
    """D6, D13."""
    assert is_reserved(name.upper())


@pytest.mark.parametrize("name", ["forwarded", "Forwarded", "X_Own", "a_b", "_"])
def test_more_that_is_dropped(name: str) -> None:
    assert is_reserved(name)


@pytest.mark.parametrize("name", ["host", "cookie", "x-own", "x.own", "mezite", "x-mezite", "content-length"])
def test_what_passes(name: str) -> None:
    assert not is_reserved(name)


def test_a_name_too_long_to_be_remembered_is_judged_as_well() -> None:
    """D4."""
    long = b"a" * 100
    fields = [(b"X_Mezite-" + long, b"1"), (b"x-real-" + long, b"1"), (long, b"1")]
    assert without_reserved(fields) == [(long, b"1")]


def test_what_one_application_takes_is_spelled_exactly() -> None:
    """D4: no other spelling comes along."""
    fields = [
        (name, b"1") for name in (b"x-mezite-csrf", b"x_mezite_csrf", b"x-mezite-user", b"x.mezite.csrf")
    ]
    assert without_reserved(fields, kept={b"x-mezite-csrf"}) == [(b"x-mezite-csrf", b"1")]


def test_what_the_connection_names_stays_on_it() -> None:
    """D6; but neither whom the request is for nor where it ends."""
    fields = [
        (b"Connection", b"close, X-Hop ,,HOST"),
        (b"connection", b"content-length,\tcookie"),
        *((name, b"1") for name in (b"host", b"content-length", b"x-hop", b"Cookie", b"x-other")),
    ]
    assert without_reserved(fields) == [(name, b"1") for name in (b"host", b"content-length", b"x-other")]


def test_what_the_least_careful_reader_takes_a_name_for() -> None:
    assert one_spelling("X_Forwarded-FOR") == spelled(b"X_Forwarded-FOR") == "x-forwarded-for"
    assert spelled(b"\xe9_X") == "\xe9-x"


def test_the_order_is_kept() -> None:
    fields = [(b"host", b"h"), (b"x-forwarded-for", b"1"), (b"accept", b"a"), (b"accept", b"b")]
    assert without_reserved(fields) == [(b"host", b"h"), (b"accept", b"a"), (b"accept", b"b")]
