# SPDX-License-Identifier: Apache-2.0
"""What a provider answers, read strictly: JSON objects without doubled names, and the failures they can be."""

import json
from typing import Any, NoReturn

__all__ = ["MAX_SHOWN", "ProviderError", "parse_object", "shown", "text_in"]

MAX_SHOWN = 120
"""Characters of a provider's words in a message."""


class ProviderError(ValueError):
    """What came from the provider cannot be used; the message says what is wrong, for people and the audit log."""


def parse_object(data: bytes | str, what: str) -> dict[str, Any]:
    """The JSON object in ``data``. Raises ProviderError: it is none, or names one thing twice (threat P21).

    ``what`` is the subject of the message.
    """
    try:
        value = json.loads(data, object_pairs_hook=unique, parse_constant=no_constant)
    except (ValueError, RecursionError):
        raise ProviderError(f"{what} is not JSON, or ambiguous: it begins with {shown(data[:40])}") from None
    if not isinstance(value, dict):
        raise ProviderError(f"{what} is not a JSON object")
    return value


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a name is given twice")
    return values


def no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def text_in(values: dict[str, Any], name: str, what: str) -> str:
    """The non-empty text called ``name``. Raises ProviderError."""
    value = values.get(name)
    if not isinstance(value, str) or not value:
        raise ProviderError(f"{what} has no {name}")
    return value


def shown(value: object) -> str:
    """``value`` as a message may show it: quoted, on one line, and not long."""
    text = repr(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
