# SPDX-License-Identifier: Apache-2.0
"""Text, JSON and YAML."""

import enum
import io
import json
from datetime import UTC, datetime, timedelta, timezone

import click
import pytest
import yaml

from mezite.cli.terminal.errors import run_program
from mezite.cli.terminal.output import (
    Column,
    OutputFormat,
    format_option,
    format_time,
    print_record,
    print_rows,
)


class Status(enum.Enum):
    ONLINE = "online"


class Terminal(io.StringIO):
    def isatty(self):
        return True


COLUMNS = [Column("name", "NAME"), Column("status", "STATUS"), Column("labels", "LABELS")]
ROWS = [
    {"name": "web-1", "status": Status.ONLINE, "labels": {"env": "prod", "a": "b"}, "agent_id": "x"},
    {"name": "evil\x1b[2J[red]", "status": None, "labels": {}, "agent_id": "y"},
]


def listing(output_format, file=None):
    out = file or io.StringIO()
    print_rows(ROWS, COLUMNS, output_format, file=out)
    return out.getvalue()


def test_text_is_columns():
    assert listing(OutputFormat.TEXT) == (
        "NAME              STATUS  LABELS\nweb-1             online  a=b,env=prod\nevil\\x1b[2J[red]\n"
    )


def test_text_without_rows_is_the_titles():
    out = io.StringIO()
    print_rows([], COLUMNS, OutputFormat.TEXT, file=out)
    assert out.getvalue() == "NAME  STATUS  LABELS\n"


def test_a_terminal_gets_a_table_without_escape_sequences_of_others():
    """H1: and square brackets are not markup."""
    shown = listing(OutputFormat.TEXT, Terminal())
    assert "evil\\x1b[2J[red]" in shown
    assert "online" in shown


@pytest.mark.parametrize(
    ("output_format", "read"), [(OutputFormat.JSON, json.loads), (OutputFormat.YAML, yaml.safe_load)]
)
def test_data_forms_have_every_key(output_format, read):
    assert read(listing(output_format)) == [
        {"name": "web-1", "status": "online", "labels": {"env": "prod", "a": "b"}, "agent_id": "x"},
        {"name": "evil\x1b[2J[red]", "status": None, "labels": {}, "agent_id": "y"},
    ]
    assert "\x1b" not in listing(output_format)


RECORD = {
    "name": "web-1",
    "last_seen": datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=1))),
    "online": True,
    "locked": False,
    "roles": ("a", "b"),
    "load": 0.5,
    "hub_id": None,
}


def test_a_record():
    out = io.StringIO()
    print_record(RECORD, OutputFormat.TEXT, file=out)
    assert out.getvalue() == (
        "name:      web-1\n"
        "last seen: 2026-01-02T02:04:05Z\n"
        "online:    yes\n"
        "locked:    no\n"
        "roles:     a,b\n"
        "load:      0.5\n"
        "hub id:\n"
    )
    out = io.StringIO()
    print_record(RECORD, OutputFormat.JSON, file=out)
    assert json.loads(out.getvalue())["last_seen"] == "2026-01-02T02:04:05Z"


def test_what_has_no_json_form_is_a_mistake():
    with pytest.raises(TypeError, match="bytes"):
        print_record({"x": b"\x00"}, OutputFormat.JSON, file=io.StringIO())


def test_times_are_rfc_3339_in_utc():
    assert format_time(datetime(2026, 1, 2, tzinfo=UTC)) == "2026-01-02T00:00:00Z"


def test_the_option(capsys):
    command = format_option(lambda output_format: print_rows(ROWS[:1], COLUMNS, output_format))
    listing_command = click.command("ls")(command)
    assert run_program(listing_command, "ls", []) == 0
    assert capsys.readouterr().out.startswith("NAME")
    assert run_program(listing_command, "ls", ["--format=json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["agent_id"] == "x"
    assert run_program(listing_command, "ls", ["--format=xml"]) == 2
