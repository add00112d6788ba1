# SPDX-License-Identifier: Apache-2.0
"""Reading the JSON object in a request: every field named, typed and bounded, nothing else accepted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import quart

from mezite.services.errors import InvalidRequestError

__all__ = ["read_fields", "texts"]

MAX_TEXT = 16 * 1024
"""A public key in PEM has a kilobyte; a reason or name much less (threat D15)."""


async def read_fields(
    required: Mapping[str, type], *, optional: Mapping[str, type] | None = None
) -> dict[str, Any]:
    """Return the fields of the request's JSON object.

    :raises InvalidRequestError: not `application/json` (what a form on another site could send, threat D21), not an
        object, a field missing, unknown, of another type or too long.
    """
    if quart.request.mimetype != "application/json":
        raise InvalidRequestError("send a JSON object with Content-Type: application/json")
    values = _parsed(await quart.request.get_data(as_text=False))
    if not isinstance(values, dict):
        raise InvalidRequestError("the request body is not a JSON object")
    known = {**required, **(optional or {})}
    for name, value in values.items():
        if name not in known:
            raise InvalidRequestError(f"unknown field {name!r}: known are {', '.join(sorted(known))}")
        if type(value) is not known[name]:
            raise InvalidRequestError(f"field {name!r} is not of type {known[name].__name__}")
        if isinstance(value, str) and len(value) > MAX_TEXT:
            raise InvalidRequestError(f"field {name!r} is longer than {MAX_TEXT} characters")
        if isinstance(value, str) and not _is_text(value):
            raise InvalidRequestError(f"field {name!r} holds characters that no text has")
    missing = [name for name in required if name not in values]
    if missing:
        raise InvalidRequestError(f"field {missing[0]!r} is missing")
    return values


def texts(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    """Return the list of texts in an optional field. :raises InvalidRequestError: something in it is no text."""
    values = fields.get(name, [])
    if not all(isinstance(value, str) and len(value) <= MAX_TEXT and _is_text(value) for value in values):
        raise InvalidRequestError(f"field {name!r} is not a list of texts")
    return tuple(values)


def _parsed(body: bytes | str) -> object:
    """Return the JSON value, None for what is no JSON: deep nesting and names given twice count as such (D2, P21)."""
    try:
        return json.loads(body, object_pairs_hook=_unique)
    except (ValueError, RecursionError):
        return None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name is given twice")
    return values


def _is_text(value: str) -> bool:
    """No NUL, which PostgreSQL cannot store, and no half of a character, which nothing can."""
    return "\0" not in value and not any("\ud800" <= character <= "\udfff" for character in value)
