# SPDX-License-Identifier: Apache-2.0
"""Column types for small structured values, kept as JSON text in one stable spelling.

The databases' own JSON types differ (PostgreSQL reorders keys and drops duplicates, SQLite has none), so the
text is ours: sorted keys, no spaces, UTF-8 as it is. Equal values are equal text, which comparing and copying
databases needs. Reading checks the shape again: a value edited by hand raises StorageError instead of
reaching an access decision.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Text
from sqlalchemy.types import TypeDecorator

from mezite.storage.errors import StorageError

if TYPE_CHECKING:
    from sqlalchemy import Dialect

__all__ = ["EnumText", "StringList", "StringListMap", "StringMap", "stable_json"]

E = TypeVar("E", bound=enum.StrEnum)


def stable_json(value: object) -> str:
    """One spelling for one value: sorted keys, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _decoded(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        raise StorageError("a stored value is not valid JSON; was the database edited by hand?") from None


def _strings(value: object) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(item, str) for item in value):
        raise StorageError("expected a list of strings")
    return tuple(value)


def _mapping(value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise StorageError("expected a map with strings as keys")
    return value


class StringList(TypeDecorator[tuple[str, ...]]):
    """`tuple[str, ...]`, such as roles."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Encode; None stays NULL."""
        return None if value is None else stable_json(_strings(value))

    def process_result_value(self, value: Any, dialect: Dialect) -> tuple[str, ...] | None:
        """Decode and check the shape."""
        return None if value is None else _strings(_decoded(value))


class StringMap(TypeDecorator[Mapping[str, str]]):
    """`Mapping[str, str]`, such as labels."""

    impl = Text
    cache_ok = True

    @staticmethod
    def _checked(value: object) -> dict[str, str]:
        checked = {}
        for key, item in _mapping(value).items():
            if not isinstance(item, str):
                raise StorageError("expected a map of strings to strings")
            checked[key] = item
        return checked

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Encode; None stays NULL."""
        return None if value is None else stable_json(self._checked(value))

    def process_result_value(self, value: Any, dialect: Dialect) -> Mapping[str, str] | None:
        """Decode and check the shape."""
        return None if value is None else self._checked(_decoded(value))


class StringListMap(TypeDecorator[Mapping[str, tuple[str, ...]]]):
    """`Mapping[str, tuple[str, ...]]`, such as a user's traits."""

    impl = Text
    cache_ok = True

    @staticmethod
    def _checked(value: object) -> dict[str, tuple[str, ...]]:
        return {key: _strings(item) for key, item in _mapping(value).items()}

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Encode; None stays NULL."""
        return None if value is None else stable_json(self._checked(value))

    def process_result_value(self, value: Any, dialect: Dialect) -> Mapping[str, tuple[str, ...]] | None:
        """Decode and check the shape."""
        return None if value is None else self._checked(_decoded(value))


class EnumText(TypeDecorator[E]):
    """A `StrEnum` by its value; a value the code does not know raises StorageError on reading."""

    impl = Text
    cache_ok = True

    def __init__(self, members: type[E]) -> None:
        super().__init__()
        self.members = members

    def process_bind_param(self, value: Any, dialect: Dialect) -> str | None:
        """Encode; a plain string that is no member raises ValueError."""
        return None if value is None else self.members(value).value

    def process_result_value(self, value: Any, dialect: Dialect) -> E | None:
        """Decode."""
        if value is None:
            return None
        try:
            return self.members(value)
        except ValueError:
            raise StorageError(f"unknown {self.members.__name__} {value!r} in the database") from None
