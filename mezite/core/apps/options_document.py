# SPDX-License-Identifier: Apache-2.0
"""Options of an application as a document: only what differs from the defaults, so that defaults may change."""

from collections.abc import Mapping
from typing import Any

import attrs

from mezite.core.apps.app import DEFAULT_OPTIONS, AppOptions, InvalidAppError

__all__ = ["options_document", "parse_options"]

FIELDS = tuple(field.name for field in attrs.fields(AppOptions))


def options_document(options: AppOptions) -> dict[str, object]:
    """Return ``options`` as a document of JSON; empty for the defaults."""
    document: dict[str, object] = {}
    for name in FIELDS:
        value = getattr(options, name)
        if value != getattr(DEFAULT_OPTIONS, name):
            document[name] = list(value) if isinstance(value, tuple) else value
    return document


def parse_options(document: object) -> AppOptions:
    """Return the options of a document; the inverse of options_document.

    Raises InvalidAppError: an option that this version does not know, or a value that it cannot have. An option may
    protect something, so none is left out.
    """
    if not isinstance(document, Mapping):
        raise InvalidAppError("options are not a map")
    unknown = sorted(set(document) - set(FIELDS))
    if unknown:
        raise InvalidAppError(f"the option {unknown[0]!r} is not known to this version")
    return AppOptions(**{name: checked(name, value) for name, value in document.items()})


def checked(name: str, value: object) -> Any:
    """``value`` as the option ``name`` holds it."""
    default = getattr(DEFAULT_OPTIONS, name)
    if isinstance(default, tuple):
        fits = isinstance(value, list) and all(isinstance(item, str) for item in value)
        value = tuple(value) if isinstance(value, list) else value
    elif isinstance(default, Mapping):
        fits = isinstance(value, Mapping) and all(
            isinstance(item, str) for pair in value.items() for item in pair
        )
    else:
        fits = type(value) is type(default)
    if not fits:
        raise InvalidAppError(f"the option {name!r} has a value of another kind")
    return value
