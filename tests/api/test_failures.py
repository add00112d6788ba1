# SPDX-License-Identifier: Apache-2.0
"""Refusals as status codes."""

import inspect

import pytest

from mezite.api.failures import audit_unavailable, rpc_error
from mezite.api.rpc import StatusCode, retry_pushback
from mezite.services import errors
from mezite.services.errors import RefusedError

CODES = {
    "AccessDeniedError": StatusCode.PERMISSION_DENIED,
    "ClockSkewError": StatusCode.FAILED_PRECONDITION,
    "ConflictError": StatusCode.ALREADY_EXISTS,
    "InvalidRequestError": StatusCode.INVALID_ARGUMENT,
    "LockedError": StatusCode.PERMISSION_DENIED,
    "NotFoundError": StatusCode.NOT_FOUND,
    "RefusedError": StatusCode.FAILED_PRECONDITION,
    "TooManyRequestsError": StatusCode.RESOURCE_EXHAUSTED,
    "UnauthenticatedError": StatusCode.UNAUTHENTICATED,
    "UnavailableError": StatusCode.UNAVAILABLE,
}

WITH_DETAILS = {
    "MfaRequiredError": (StatusCode.UNAUTHENTICATED, {"code": "mfa_required", "factors": "totp,webauthn"}),
    "ProofRequiredError": (StatusCode.PERMISSION_DENIED, {"code": "proof_required", "proofs": "totp"}),
}


def test_every_refusal_has_a_code():
    refusals = {
        name for name, value in inspect.getmembers(errors, inspect.isclass) if issubclass(value, RefusedError)
    }
    assert refusals == {*CODES, *WITH_DETAILS} == set(errors.__all__)


@pytest.mark.parametrize("name", CODES)
def test_the_text_is_kept(name):
    error = rpc_error(getattr(errors, name)("what: why; what to do", event_id="e-1"))
    assert (error.status, error.message) == (CODES[name], "what: why; what to do")


def test_what_a_program_needs_to_go_on_comes_along():
    made = {
        "MfaRequiredError": errors.MfaRequiredError(["totp", "webauthn"], event_id="e-1"),
        "ProofRequiredError": errors.ProofRequiredError(["totp"]),
    }
    for name, (status, details) in WITH_DETAILS.items():
        error = rpc_error(made[name])
        assert (error.status, error.details) == (status, details)
    assert made["MfaRequiredError"].event_id == "e-1"
    assert "log in again" in str(errors.ProofRequiredError(["login"]))


def test_a_refusal_that_is_new_is_still_one():
    class Newer(RefusedError):
        pass

    assert rpc_error(Newer("no")).status is StatusCode.FAILED_PRECONDITION


def test_without_an_audit_log_nothing_is_done():
    assert audit_unavailable().status is StatusCode.UNAVAILABLE


def test_a_refusal_may_say_when_to_come_back():
    error = rpc_error(errors.TooManyRequestsError("no", retry_after=7))
    assert error.details == {"retry_after": "7"}
    assert retry_pushback(error.details) == [("grpc-retry-pushback-ms", "7000")]
    assert retry_pushback(rpc_error(RefusedError("no")).details) == []


def test_refusals_may_name_an_event():
    assert RefusedError("x").event_id == ""
    assert RefusedError("x", event_id="e").event_id == "e"
