# SPDX-License-Identifier: Apache-2.0
"""What every answer of the web API has: the shape of a failure, and the headers that protect it."""

from __future__ import annotations

import logging
import secrets

import quart
from werkzeug.exceptions import HTTPException

from mezite.services.audit_log import AuditUnavailableError
from mezite.services.errors import (
    AccessDeniedError,
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
from mezite.web.plain_page import page

__all__ = ["explained", "failure", "protect"]

_log = logging.getLogger("mezite.web")

_STATUS: dict[type[RefusedError], int] = {
    AccessDeniedError: 403,
    ConflictError: 409,
    InvalidRequestError: 400,
    LockedError: 403,
    MfaRequiredError: 401,
    NotFoundError: 404,
    ProofRequiredError: 403,
    TooManyRequestsError: 429,
    UnauthenticatedError: 401,
    UnavailableError: 503,
}


def explained(error: RefusedError | AuditUnavailableError) -> tuple[int, str, str]:
    """Return the status of a refusal, its words, and the audit event's id."""
    if isinstance(error, RefusedError):
        return _STATUS.get(type(error), 400), str(error), error.event_id
    return 503, "the audit log cannot be written, so nothing is done: try again later", ""


async def failure(error: Exception) -> tuple[quart.Response, int]:
    """One shape for everything that goes wrong: `{"error": {"message", "event_id"}}`.

    Where a program can go on, there is a `code` besides, and what belongs to it.
    """
    if isinstance(error, RefusedError | AuditUnavailableError):
        status, message, event_id = explained(error)
    elif isinstance(error, HTTPException):
        if error.code == 404 and _is_shown():
            return _no_such_page(), 404
        status, message, event_id = error.code or 400, error.description or error.name, ""
    else:
        correlation_id = secrets.token_hex(8)
        _log.error("%s failed, correlation id %s", quart.request.path, correlation_id, exc_info=error)
        status, message, event_id = 500, f"internal error, correlation id {correlation_id}", ""
    details = error.details if isinstance(error, RefusedError) else {}
    response = quart.jsonify({"error": {"message": message, "event_id": event_id, **details}})
    if isinstance(error, RefusedError) and error.retry_after:
        response.headers["retry-after"] = str(error.retry_after)
    return response, status


def _is_shown() -> bool:
    """Whether a person will look at the answer: an address that was typed or followed, outside of the API."""
    accepted = quart.request.accept_mimetypes
    return not quart.request.path.startswith("/v1/") and accepted.best == "text/html"


def _no_such_page() -> quart.Response:
    return page(
        "There is no such page",
        """\
      <p>The address is misspelled, or it is of another hub.</p>
      <p><a href="/">Go to the first page</a></p>""",
    )


async def protect(response: quart.Response) -> quart.Response:
    """Answers hold secrets and belong to one client: no cache, no frame, no referrer (threat D23)."""
    response.headers.setdefault("content-security-policy", "default-src 'none'; frame-ancestors 'none'")
    # What is public and the same for everybody has said so already.
    response.headers.setdefault("cache-control", "no-store")
    response.headers.update(
        {
            "referrer-policy": "no-referrer",
            "x-content-type-options": "nosniff",
            "strict-transport-security": "max-age=31536000",
        }
    )
    return response
