# SPDX-License-Identifier: Apache-2.0
"""Listings and single records as text, JSON or YAML.

JSON and YAML carry the values themselves and are meant for programs. Text is for people: every character
that a terminal would obey is escaped first, because names and labels come from others (threat H1).
"""

from __future__ import annotations

import enum
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TextIO, TypeVar

import attrs
import click

from mezite.cli.terminal.escapes import escape_controls

__all__ = ["Column", "OutputFormat", "format_option", "format_time", "print_record", "print_rows"]

_F = TypeVar("_F", bound=Callable[..., Any])

Row = Mapping[str, object]


class OutputFormat(enum.Enum):
    """What ``--format`` selects."""

    TEXT = "text"
    JSON = "json"
    YAML = "yaml"


@attrs.frozen
class Column:
    """One column of the text form: the row's key and the title above it."""

    key: str
    title: str


def format_option(function: _F) -> _F:
    """Add ``--format=text|json|yaml`` to a command; it arrives as ``output_format: OutputFormat``."""
    option = click.option(
        "--format",
        "output_format",
        type=click.Choice([member.value for member in OutputFormat]),
        default="text",
        show_default=True,
        callback=lambda _ctx, _param, value: OutputFormat(value),
        help="Form of the output.",
    )
    return option(function)


def format_time(moment: datetime) -> str:
    """Return ``moment`` in RFC 3339, UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def print_rows(
    rows: Sequence[Row], columns: Sequence[Column], output_format: OutputFormat, *, file: TextIO | None = None
) -> None:
    """Print a listing.

    JSON and YAML show every key of every row; text shows ``columns``. On a terminal the table fits its
    width, and cut values end in an ellipsis; elsewhere nothing is ever cut.
    """
    out = file if file is not None else sys.stdout
    if output_format is not OutputFormat.TEXT:
        _print_data([_plain(row) for row in rows], output_format, out)
    elif out.isatty():
        _print_table(rows, columns, out)
    else:
        _print_columns(rows, columns, out)


def print_record(record: Row, output_format: OutputFormat, *, file: TextIO | None = None) -> None:
    """Print one record: in text, a line ``key: value`` for each key."""
    out = file if file is not None else sys.stdout
    if output_format is not OutputFormat.TEXT:
        _print_data(_plain(record), output_format, out)
        return
    width = max((len(key) for key in record), default=0)
    for key, value in record.items():
        title = key.replace("_", " ")
        print(f"{title + ':':<{width + 1}} {_cell(value)}".rstrip(), file=out)


def _print_data(data: object, output_format: OutputFormat, out: TextIO) -> None:
    if output_format is OutputFormat.JSON:
        # ASCII only: the escapes of JSON keep control characters of names out of terminals as well.
        print(json.dumps(data, indent=2), file=out)
        return
    import yaml  # noqa: PLC0415 - only this form pays for it

    yaml.safe_dump(data, out, sort_keys=False, default_flow_style=False)


def _plain(value: object) -> Any:
    """Return ``value`` as JSON types: times in RFC 3339, enums by value, anything unknown refused."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, Sequence | frozenset) and not isinstance(value, bytes):
        return [_plain(item) for item in value]
    raise TypeError(f"{type(value).__name__} has no form in JSON")


def _cell(value: object) -> str:
    plain = _plain(value)
    if plain is None:
        return ""
    if isinstance(plain, bool):
        return "yes" if plain else "no"
    if isinstance(plain, dict):
        return escape_controls(",".join(f"{key}={_cell(item)}" for key, item in sorted(plain.items())))
    if isinstance(plain, list):
        return escape_controls(",".join(_cell(item) for item in plain))
    return escape_controls(str(plain))


def _print_columns(rows: Sequence[Row], columns: Sequence[Column], out: TextIO) -> None:
    lines = [[column.title for column in columns]]
    lines.extend([_cell(row.get(column.key)) for column in columns] for row in rows)
    widths = [max(len(line[position]) for line in lines) for position in range(len(columns))]
    for line in lines:
        print(
            "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip(), file=out
        )


def _print_table(rows: Sequence[Row], columns: Sequence[Column], out: TextIO) -> None:
    # rich costs 150 ms: imported only where someone looks at the result.
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.title, overflow="ellipsis", no_wrap=True)
    for row in rows:
        # Text, not str: a name with square brackets is not markup.
        table.add_row(*(Text(_cell(row.get(column.key))) for column in columns))
    Console(file=out).print(table)
