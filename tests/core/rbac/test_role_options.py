# SPDX-License-Identifier: Apache-2.0
import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.rbac.role_options import RecordSession, RoleOptions, SessionMfa, strictest, strictest_mfa

OPTIONS = st.builds(
    RoleOptions,
    max_session_ttl=st.sampled_from([60, 3600, 43200]),
    require_session_mfa=st.sampled_from(SessionMfa),
    require_trusted_device=st.booleans(),
    port_forwarding=st.booleans(),
    file_copy=st.booleans(),
    agent_forwarding=st.booleans(),
    pin_source_ip=st.booleans(),
    record_session=st.sampled_from(RecordSession),
    idle_timeout=st.sampled_from([0, 60, 600]),
    max_connections=st.sampled_from([0, 1, 5]),
    request_approvals=st.integers(1, 3),
)


@pytest.mark.parametrize(
    ("field", "values", "expected"),
    [
        ("max_session_ttl", (3600, 60, 7200), 60),
        ("require_session_mfa", (SessionMfa.NONE, SessionMfa.ANY), SessionMfa.ANY),
        ("require_session_mfa", (SessionMfa.TOTP, SessionMfa.ANY), SessionMfa.TOTP),
        ("require_session_mfa", (SessionMfa.WEBAUTHN, SessionMfa.TOTP), SessionMfa.WEBAUTHN),
        ("require_session_mfa", (SessionMfa.HARDWARE_KEY, SessionMfa.WEBAUTHN), SessionMfa.HARDWARE_KEY),
        ("require_trusted_device", (False, True), True),
        ("port_forwarding", (True, False), False),
        ("file_copy", (True, True), True),
        ("file_copy", (True, False), False),
        ("agent_forwarding", (False, True), False),
        ("agent_forwarding", (False, False), False),
        ("pin_source_ip", (False, True), True),
        ("record_session", (RecordSession.OFF, RecordSession.DEFAULT), RecordSession.DEFAULT),
        ("record_session", (RecordSession.NODE, RecordSession.DEFAULT), RecordSession.NODE),
        ("record_session", (RecordSession.NODE, RecordSession.NODE_SYNC), RecordSession.NODE_SYNC),
        ("idle_timeout", (0, 600, 60), 60),
        ("idle_timeout", (0, 0), 0),
        ("max_connections", (5, 0), 5),
        ("request_approvals", (1, 3, 2), 3),
    ],
)
def test_the_strictest_counts(field, values, expected):
    combined = strictest(RoleOptions(**{field: value}) for value in values)
    assert combined == attrs.evolve(RoleOptions(), **{field: expected})


def test_who_is_asked_for_nothing_needs_nothing():
    assert strictest_mfa([]) is SessionMfa.NONE


def test_no_role_has_no_options():
    with pytest.raises(ValueError, match="no role"):
        strictest([])


@given(st.lists(OPTIONS, min_size=1, max_size=4), st.randoms())
def test_order_and_repetition_do_not_matter(options, random):
    combined = strictest(options)
    shuffled = [*options, combined]
    random.shuffle(shuffled)
    assert strictest(shuffled) == combined
    assert strictest([combined]) == combined
