# SPDX-License-Identifier: Apache-2.0
"""What the doctors print: a table of steps, and the first broken one with its remedy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

from mezite.cli.terminal.errors import CliError
from mezite.cli.terminal.escapes import escape_controls
from mezite.cli.terminal.output import Column, OutputFormat, print_record, print_rows
from mezite.core.diagnosis import Finding, Outcome, first_broken

__all__ = ["report"]

_COLUMNS = (
    Column("step", "Step"),
    Column("outcome", "Result"),
    Column("milliseconds", "ms"),
    Column("detail", "What was found"),
)


def report(
    findings: Sequence[Finding], output_format: OutputFormat, snippets: Mapping[str, str] | None = None
) -> None:
    """Print the findings, and configurations by the program they are for.

    In text, each step that failed gets a line of its own below the table, where nothing is cut. JSON and YAML are one
    record: ``ok``, ``first_broken``, ``steps`` and the snippets.

    :raises CliError: a step failed; the error names the first one.
    """
    rows = [_row(finding) for finding in findings]
    broken = first_broken(findings)
    if output_format is OutputFormat.TEXT:
        print_rows(rows, _COLUMNS, output_format)
        _print_remedies(findings)
        for program, text in (snippets or {}).items():
            click.echo(f"\n# {program}, for these ports:\n{text.rstrip()}")
    else:
        name = None if broken is None else broken.step
        record = {"ok": broken is None, "first_broken": name, "steps": rows, **(snippets or {})}
        print_record(record, output_format)
    if broken is not None:
        raise CliError(f"{broken.step} failed", broken.detail, broken.remedy)


def _row(finding: Finding) -> dict[str, object]:
    return {
        "step": finding.step,
        "outcome": finding.outcome.value,
        "milliseconds": finding.milliseconds,
        "detail": finding.detail,
        "remedy": finding.remedy or None,
    }


def _print_remedies(findings: Sequence[Finding]) -> None:
    failed = [finding for finding in findings if finding.outcome is Outcome.FAILED]
    if failed:
        click.echo()
    for finding in failed:
        click.echo(f"{finding.step}: {escape_controls(finding.detail)}")
        click.echo(f"  to do: {escape_controls(finding.remedy)}")
