# SPDX-License-Identifier: Apache-2.0
"""From what services refuse to gRPC status codes: the one place where they meet."""

from __future__ import annotations

from mezite.api.rpc import RpcError
from mezite.core.grpc.status import StatusCode
from mezite.services.errors import (
    AccessDeniedError,
    ClockSkewError,
    ConflictError,
    InvalidRequestError,
    LockedError,
    MfaRequiredError,
    NotFoundError,
    ProofRequiredError,
    RefusedError,
    TooManyRequestsError,
    UnauthenticatedError,
    UnavailableError,
)

__all__ = ["audit_unavailable", "rpc_error"]

_CODES: dict[type[RefusedError], StatusCode] = {
    AccessDeniedError: StatusCode.PERMISSION_DENIED,
    ClockSkewError: StatusCode.FAILED_PRECONDITION,
    ConflictError: StatusCode.ALREADY_EXISTS,
    InvalidRequestError: StatusCode.INVALID_ARGUMENT,
    LockedError: StatusCode.PERMISSION_DENIED,
    MfaRequiredError: StatusCode.UNAUTHENTICATED,
    NotFoundError: StatusCode.NOT_FOUND,
    ProofRequiredError: StatusCode.PERMISSION_DENIED,
    TooManyRequestsError: StatusCode.RESOURCE_EXHAUSTED,
    UnauthenticatedError: StatusCode.UNAUTHENTICATED,
    UnavailableError: StatusCode.UNAVAILABLE,
}


def rpc_error(refused: RefusedError) -> RpcError:
    """Return the RPC failure that says what `refused` says.

    The detail `retry_after` is in seconds; lists are joined by commas.
    """
    details = {"retry_after": str(refused.retry_after)} if refused.retry_after else {}
    details |= {
        key: value if isinstance(value, str) else ",".join(value) for key, value in refused.details.items()
    }
    return RpcError(_CODES.get(type(refused), StatusCode.FAILED_PRECONDITION), str(refused), details)


def audit_unavailable() -> RpcError:
    """Return the failure of a call that could not be recorded, and so counts as not done (threat H7)."""
    return RpcError(
        StatusCode.UNAVAILABLE, "the audit log cannot be written, so nothing is done: try again later"
    )
