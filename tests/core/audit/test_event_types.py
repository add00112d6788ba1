# SPDX-License-Identifier: Apache-2.0
import re

import pytest

from mezite.core.audit.event_types import EventType, Severity, parse_event_type

CONTRACT = [
    "user.login",
    "user.login.failed",
    "user.cert.issued",
    "user.created",
    "user.updated",
    "user.deleted",
    "user.mfa.added",
    "user.mfa.removed",
    "role.created",
    "role.updated",
    "role.deleted",
    "session.start",
    "session.end",
    "session.join",
    "session.upload",
    "scp.transfer",
    "sftp.open",
    "sftp.close",
    "sftp.remove",
    "sftp.rename",
    "port.forward",
    "node.joined",
    "node.left",
    "access.denied",
    "authz.denied",
    "access_request.created",
    "access_request.approved",
    "access_request.denied",
    "access_request.expired",
    "access_request.cancelled",
    "access_request.revoked",
    "lock.created",
    "lock.deleted",
    "token.created",
    "token.used",
    "app.created",
    "app.updated",
    "app.deleted",
    "app.enabled",
    "app.disabled",
    "app.request",
    "app.session.start",
    "app.session.end",
    "ca.rotated",
    "recording.accessed",
    "hub.started",
    "hub.stopped",
]


@pytest.mark.parametrize("name", CONTRACT)
def test_every_type_of_the_contract_exists(name):
    assert parse_event_type(name).type_name == name


def test_codes_that_are_published_stay():
    assert EventType.SESSION_START.code == "T2000I"
    assert EventType.ACCESS_DENIED.code == "T4001W"


def test_names_and_codes_are_unique_and_well_formed():
    names = [event_type.type_name for event_type in EventType]
    codes = [event_type.code for event_type in EventType]
    assert len(set(names)) == len(set(codes)) == len(EventType)
    for event_type in EventType:
        assert re.fullmatch(r"T\d{4}[IWE]", event_type.code)
        assert re.fullmatch(r"[a-z_]+(\.[a-z]+)+", event_type.type_name)
        assert event_type.name == event_type.type_name.replace(".", "_").upper()
        assert event_type.meaning[0].isupper()
        assert not event_type.meaning.endswith(".")


def test_refusals_are_warnings():
    for event_type in EventType:
        if event_type.type_name.endswith((".failed", "access.denied", "authz.denied")):
            assert event_type.severity is Severity.WARNING
    assert EventType.SESSION_START.severity is Severity.INFORMATION


def test_unknown_types_get_a_hint():
    with pytest.raises(ValueError, match=r"unknown event type 'session.begin'.*session.start, session.end"):
        parse_event_type("session.begin")
    with pytest.raises(ValueError, match=r"'x'.*session.start, user.login"):
        parse_event_type("x")
