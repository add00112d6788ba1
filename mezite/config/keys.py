# SPDX-License-Identifier: Apache-2.0
"""How a key is declared: one line in the schema gives default, kind, documentation and variables.

The loader, the example file and the reference in ``docs/configuration.md`` are all made from these
declarations, so that a new key is written down once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from mezite.config.kinds import Kind

__all__ = ["Key", "fields_of", "key", "section", "walk"]

_DECLARATION = "mezite.config"


@attrs.frozen(kw_only=True)
class Key:
    """One configurable value."""

    path: str = ""
    """Dotted path from the top of the file."""
    kind: Kind
    default: Any
    doc: str
    """One sentence for the user, with the unit."""
    example: str = ""
    """What the commented example shows when the default is empty."""
    default_text: str = ""
    """How to show a default that is computed."""
    variables: tuple[str, ...] = ()
    """Environment variables besides ``MEZITE_`` + path."""

    @property
    def environment(self) -> tuple[str, ...]:
        """Every variable that sets this key; the one made from the path is first."""
        derived = "MEZITE_" + self.path.upper().replace(".", "_")
        return (derived, *(name for name in self.variables if name != derived))


@attrs.frozen(kw_only=True)
class _Section:
    config_class: type
    doc: str


def key(kind: Kind, default: Any, doc: str, **more: Any) -> Any:
    """Declare a key: an attrs field; ``more`` are the further fields of :class:`Key`."""
    declared = Key(kind=kind, default=default, doc=doc, **more)
    return attrs.field(default=default, metadata={_DECLARATION: declared})


def section(config_class: type, doc: str) -> Any:
    """Declare nested keys: an attrs field whose class declares keys itself."""
    return attrs.field(
        factory=config_class, metadata={_DECLARATION: _Section(config_class=config_class, doc=doc)}
    )


def fields_of(config_class: type, prefix: str = "") -> dict[str, Key | tuple[type, str]]:
    """Return the members of ``config_class``: keys with their path, sections as (class, documentation)."""
    members: dict[str, Key | tuple[type, str]] = {}
    for field in attrs.fields(config_class):
        declared = field.metadata[_DECLARATION]
        if isinstance(declared, Key):
            members[field.name] = attrs.evolve(declared, path=prefix + field.name)
        else:
            members[field.name] = (declared.config_class, declared.doc)
    return members


def walk(config_class: type, prefix: str = "") -> Iterator[Key]:
    """Yield every key below ``config_class`` in the order of declaration."""
    for name, member in fields_of(config_class, prefix).items():
        if isinstance(member, Key):
            yield member
        else:
            yield from walk(member[0], f"{prefix}{name}.")
