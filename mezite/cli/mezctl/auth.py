# SPDX-License-Identifier: Apache-2.0
"""`mezctl auth`: the cluster's signing keys, their rotation, their public halves."""

from __future__ import annotations

from typing import Any

import click

from mezite.api.pb.mezite.v1 import authorities_pb2 as pb
from mezite.cli.hub_client.auth_server import AuthServer, auth_server
from mezite.cli.hub_client.hub_connection import open_hub
from mezite.cli.lazy_group import CommandGroup
from mezite.cli.mezctl.rotation_report import rehearsal_lines, rotation_record, status_lines, taken_lines
from mezite.cli.terminal.errors import EXIT_USAGE, CliError, run_command
from mezite.cli.terminal.output import OutputFormat, format_option, print_record

__all__ = ["auth"]

_SERVICE = "/mezite.v1.AuthorityService/"


@click.group(cls=CommandGroup, help="The cluster's signing keys.")
def auth() -> None:
    """Group only."""


@auth.command(help="Replace signing keys: begin a rotation, look at one, go on, or go back.")
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Which keys.  [default: all]")
@click.option(
    "--status", "wanted", flag_value="status", help="Only say where rotations are, and who is not ready."
)
@click.option("--rehearse", "wanted", flag_value="rehearse", help="Only say what would happen, and when.")
@click.option(
    "--force", "wanted", flag_value="force", help="Take the next step now, whoever is not ready for it."
)
@click.option("--rollback", "wanted", flag_value="rollback", help="Undo the latest step.")
@format_option
@click.pass_context
def rotate(
    ctx: click.Context, types: tuple[str, ...], wanted: str | None, output_format: OutputFormat
) -> None:
    """Take one step, or none, and say where that leaves the keys."""
    names = [name for given in types for name in given.split(",") if name]
    if wanted == "force" and not names:
        raise CliError(
            "--force needs --type",
            "it may lock out agents that have not seen the new key",
            "name the keys, such as --type=host-tls, after a look at --status",
            exit_code=EXIT_USAGE,
        )
    actions = {
        None: pb.RotateRequest.BEGIN,
        "force": pb.RotateRequest.FORCE,
        "rollback": pb.RotateRequest.ROLL_BACK,
    }
    action = actions.get(wanted)
    taken, status = run_command(_rotate, auth_server(ctx), names, action)
    if output_format is OutputFormat.TEXT:
        report = rehearsal_lines if wanted == "rehearse" else status_lines
        for line in (*taken_lines(taken), *report(status)):
            click.echo(line)
    else:
        print_record(rotation_record(status, taken), output_format)
    if taken is not None and not any(one.step for one in taken.taken):
        raise CliError("nothing was changed", "; ".join(one.error for one in taken.taken))


@auth.command(help="Print public keys for those who check signatures: JWKS, OpenSSH lines or PEM.")
@click.option(
    "--type",
    "key_type",
    required=True,
    metavar="TYPE",
    help="app-jwt, user-ssh, host-ssh, host-tls, user-tls, recordings or audit.",
)
@click.pass_context
def export(ctx: click.Context, key_type: str) -> None:
    """Print the keys that are trusted now; during a rotation that is more than one."""
    click.echo(run_command(_export, auth_server(ctx), key_type).text, nl=False)


@auth.command("ca-pin", help="Print sha256:<64 hex> of the cluster's Host CA, for --ca-pin.")
@format_option
@click.pass_context
def ca_pin(ctx: click.Context, output_format: OutputFormat) -> None:
    """Print the pin of the CA that signs now, alone on a line; pins of others that are trusted go beside it."""
    found = run_command(_status, auth_server(ctx), ["host-tls"])
    if output_format is not OutputFormat.TEXT:
        pins: dict[str, Any] = {"pin": found.host_ca_pin, "pins": list(found.host_ca_pins)}
        print_record(pins, output_format)
        return
    click.echo(found.host_ca_pin)
    for key in found.rotations[0].keys:
        if key.state != "active":
            click.echo(f"sha256:{key.key_id} ({key.state}) is trusted too", err=True)


async def _rotate(
    options: AuthServer, names: list[str], action: pb.RotateRequest.Action | None
) -> tuple[pb.RotateResponse | None, pb.GetRotationResponse]:
    async with open_hub(options) as hub:
        taken = None
        if action is not None:
            request = pb.RotateRequest(types=names, action=action)
            taken = await hub.unary(_SERVICE + "Rotate", request, pb.RotateResponse)
        status = await hub.unary(
            _SERVICE + "GetRotation", pb.GetRotationRequest(types=names), pb.GetRotationResponse
        )
        return taken, status


async def _status(options: AuthServer, names: list[str]) -> pb.GetRotationResponse:
    return (await _rotate(options, names, None))[1]


async def _export(options: AuthServer, key_type: str) -> pb.ExportKeysResponse:
    async with open_hub(options) as hub:
        request = pb.ExportKeysRequest(type=key_type)
        return await hub.unary(_SERVICE + "ExportKeys", request, pb.ExportKeysResponse)
