# SPDX-License-Identifier: Apache-2.0
"""`mezctl roles`: who may what."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from mezite.api.pb.mezite.v1 import roles_pb2 as pb
from mezite.cli.hub_client.auth_server import AuthServer, auth_server
from mezite.cli.hub_client.hub_connection import open_hub
from mezite.cli.lazy_group import CommandGroup
from mezite.cli.terminal.errors import CliError, run_command
from mezite.cli.terminal.output import Column, OutputFormat, format_option, print_record, print_rows
from mezite.core.rbac.role_document import role_document
from mezite.core.timestamps import format_timestamp

__all__ = ["print_difference", "roles"]

_SERVICE = "/mezite.v1.RoleService/"
_COLUMNS = (
    Column("name", "Name"),
    Column("built_in", "Built in"),
    Column("description", "Description"),
    Column("updated_at", "Updated"),
)


@click.group(cls=CommandGroup, help="Roles: who may what.")
def roles() -> None:
    """Group only."""


@roles.command(help="Create a role, or replace the one of that name.")
@click.option(
    "--from-file", "path", required=True, metavar="F", type=click.Path(path_type=Path), help="YAML."
)
@click.option("--dry-run", is_flag=True, help="Change nothing; print who would gain and lose what.")
@click.option(
    "--replay-days",
    type=click.IntRange(1, 366),
    metavar="N",
    help="With --dry-run: also decide the audited accesses of the last N days again.",
)
@format_option
@click.pass_context
def create(
    ctx: click.Context, path: Path, dry_run: bool, replay_days: int | None, output_format: OutputFormat
) -> None:
    """Send a role file that is valid."""
    if replay_days and not dry_run:
        raise click.UsageError("--replay-days needs --dry-run: a role that is stored is not tried out")
    # Regular expressions of roles take a moment to import; `--help` need not wait for it.
    from mezite.cli.mezctl.role_file import load_role  # noqa: PLC0415

    document = json.dumps(role_document(load_role(path)))
    request = pb.PutRoleRequest(document=document, dry_run=dry_run, replay_days=replay_days or 0)
    answer = run_command(_put, auth_server(ctx), request)
    verb = "created" if answer.created else "updated"
    if dry_run:
        print_difference(answer, verb, output_format)
    elif output_format is OutputFormat.TEXT:
        click.echo(f"role {answer.role.name} {verb}")
    else:
        print_record(_row(answer.role) | {"created": answer.created}, output_format)


@roles.command("ls", help="List roles.")
@format_option
@click.pass_context
def list_roles(ctx: click.Context, output_format: OutputFormat) -> None:
    """List roles, built-in ones first."""
    listed = run_command(_list, auth_server(ctx))
    print_rows([_row(role) for role in listed.roles], _COLUMNS, output_format)


@roles.command(help="Show one role, as YAML that `create` takes.")
@click.argument("name")
@format_option
@click.pass_context
def get(ctx: click.Context, name: str, output_format: OutputFormat) -> None:
    """Show the document of one role."""
    role = run_command(_get, auth_server(ctx), name)
    document = json.loads(role.document)
    print_record(document, OutputFormat.YAML if output_format is OutputFormat.TEXT else output_format)


@roles.command("delete", help="Delete a role that no user has.")
@click.argument("name")
@click.pass_context
def delete_role(ctx: click.Context, name: str) -> None:
    """Delete one role."""
    run_command(_delete, auth_server(ctx), name)
    click.echo(f"role {name} deleted")


@roles.command(help="Check what roles decide against what a file expects; asks no hub.")
@click.option(
    "--from-file", "path", required=True, metavar="F", type=click.Path(path_type=Path), help="YAML."
)
@format_option
def test(path: Path, output_format: OutputFormat) -> None:
    """Run the assertions of a file."""
    # As in `create`.
    from mezite.cli.mezctl.role_tests import load_role_tests  # noqa: PLC0415

    results = [each.run() for each in load_role_tests(path)]
    failed = sum(not result.passed for result in results)
    if output_format is OutputFormat.TEXT:
        for result in results:
            click.echo(f"{'ok' if result.passed else 'FAILED'}: {result.name}: {result.reason}")
    else:
        rows = [{"name": each.name, "passed": each.passed, "reason": each.reason} for each in results]
        print_rows(rows, (), output_format)
    if failed:
        raise CliError(f"{path}", f"{failed} of {len(results)} tests failed", "change the role or the test")


def print_difference(answer: pb.PutRoleResponse, verb: str, output_format: OutputFormat) -> None:
    """Print the answer of a dry run."""
    if output_format is not OutputFormat.TEXT:
        record = {
            "role": answer.role.name,
            "created": answer.created,
            "gained": [_pair(pair) for pair in answer.gained],
            "lost": [_pair(pair) for pair in answer.lost],
            "gained_count": answer.gained_count,
            "lost_count": answer.lost_count,
        }
        print_record(record | _replay(answer), output_format)
        return
    click.echo(
        f"role {answer.role.name} would be {verb}: {answer.gained_count} gained, {answer.lost_count} lost"
    )
    for sign, pairs, count in (
        ("+", answer.gained, answer.gained_count),
        ("-", answer.lost, answer.lost_count),
    ):
        for pair in pairs:
            click.echo(f"{sign} {pair.user} as {pair.login} on {pair.node}")
        if count > len(pairs):
            click.echo(f"{sign} and {count - len(pairs)} more")
    if answer.replayed_since_ms:
        since = format_timestamp(answer.replayed_since_ms)
        click.echo(f"{answer.replayed_count} accesses since {since}: {_refusals(answer)}")
    for each in answer.refused:
        last = format_timestamp(each.last_at_ms)
        click.echo(f"! {each.user} as {each.login} on {each.node}: {each.count} times, last at {last}")


def _refusals(answer: pb.PutRoleResponse) -> str:
    refused = sum(each.count for each in answer.refused)
    return f"{refused} would be refused" if refused else "none would be refused"


def _replay(answer: pb.PutRoleResponse) -> dict[str, object]:
    if not answer.replayed_since_ms:
        return {}
    return {
        "replayed_count": answer.replayed_count,
        "replayed_since": format_timestamp(answer.replayed_since_ms),
        "refused": [
            {
                "user": each.user,
                "node": each.node,
                "login": each.login,
                "count": each.count,
                "last_at": format_timestamp(each.last_at_ms),
            }
            for each in answer.refused
        ],
    }


def _pair(pair: pb.AccessPair) -> dict[str, object]:
    return {"user": pair.user, "node": pair.node, "login": pair.login}


def _row(role: pb.Role) -> dict[str, object]:
    document: dict[str, Any] = json.loads(role.document)
    return {
        "name": role.name,
        "built_in": role.built_in,
        "description": document["metadata"]["description"],
        "created_at": None if role.built_in else format_timestamp(role.created_at_ms),
        "updated_at": None if role.built_in else format_timestamp(role.updated_at_ms),
        "spec": document["spec"],
    }


async def _put(options: AuthServer, request: pb.PutRoleRequest) -> pb.PutRoleResponse:
    async with open_hub(options) as hub:
        return await hub.unary(_SERVICE + "PutRole", request, pb.PutRoleResponse)


async def _list(options: AuthServer) -> pb.ListRolesResponse:
    async with open_hub(options) as hub:
        return await hub.unary(_SERVICE + "ListRoles", pb.ListRolesRequest(), pb.ListRolesResponse)


async def _get(options: AuthServer, name: str) -> pb.Role:
    async with open_hub(options) as hub:
        return await hub.unary(_SERVICE + "GetRole", pb.GetRoleRequest(name=name), pb.Role)


async def _delete(options: AuthServer, name: str) -> None:
    async with open_hub(options) as hub:
        await hub.unary(_SERVICE + "DeleteRole", pb.DeleteRoleRequest(name=name), pb.DeleteRoleResponse)
