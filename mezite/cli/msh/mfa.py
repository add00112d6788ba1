# SPDX-License-Identifier: Apache-2.0
"""`msh mfa`: the user's own second factors."""

from __future__ import annotations

import sys

import click

from mezite.api.pb.mezite.v1 import factors_pb2 as pb
from mezite.cli.hub_client.proven_call import proven
from mezite.cli.hub_client.second_factor import mfa_code_option
from mezite.cli.hub_client.user_session import open_api
from mezite.cli.lazy_group import CommandGroup
from mezite.cli.msh.mfa_prove import prove
from mezite.cli.terminal.errors import CliError, run_command
from mezite.cli.terminal.escapes import escape_controls
from mezite.cli.terminal.factor_rows import FACTOR_COLUMNS, factor_rows, factors_page
from mezite.cli.terminal.output import OutputFormat, format_option, print_record, print_rows

__all__ = ["mfa"]

_SERVICE = "/mezite.v1.FactorService/"


@click.group(cls=CommandGroup, help="Your second factors.")
def mfa() -> None:
    """Group only."""


mfa.add_command(prove)


@mfa.command(help="Add an authenticator app or, in the browser, a security key.")
@click.option(
    "--type",
    "kind",
    type=click.Choice(["totp", "webauthn"]),
    default="totp",
    show_default=True,
    help="What to add.",
)
@click.option("--name", default="", metavar="NAME", help="What to call it.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@mfa_code_option
def add(kind: str, name: str, password_stdin: bool, mfa_code: str) -> None:
    """Enrol a factor."""
    if kind == "webauthn":
        _add_in_browser()
        return
    begun = proven(_begin_totp, mfa_code=mfa_code, password_stdin=password_stdin)
    click.echo("Scan this with an authenticator app, or type the secret into it:\n")
    if sys.stdout.isatty():
        click.echo(qr_code(begun.uri))
    click.echo(f"{escape_controls(begun.uri)}\n\nsecret: {escape_controls(begun.secret)}\n")
    sys.stdout.flush()
    code = _new_code()
    enrolled = run_command(_finish_totp, begun.challenge_id, code, name)
    click.echo(escape_controls(f"added {enrolled.factor.name} ({enrolled.factor.id})"))
    if enrolled.recovery_codes:
        _print_codes(list(enrolled.recovery_codes))


@mfa.command("ls", help="List your second factors.")
@format_option
def list_factors(output_format: OutputFormat) -> None:
    """List them, oldest first."""
    listed = run_command(_list)
    print_rows(factor_rows(listed), FACTOR_COLUMNS, output_format)
    if output_format is OutputFormat.TEXT and listed.factors:
        click.echo(f"{listed.recovery_codes_left} recovery codes left", err=True)


@mfa.command("rm", help="Remove a second factor by its id.")
@click.argument("factor_id", metavar="ID")
@mfa_code_option
def remove(factor_id: str, mfa_code: str) -> None:
    """Remove one."""

    async def call(proof: pb.Proof) -> None:
        async with open_api() as hub:
            await hub.unary(
                _SERVICE + "RemoveFactor",
                pb.RemoveFactorRequest(id=factor_id, proof=proof),
                pb.RemoveFactorResponse,
            )

    proven(call, mfa_code=mfa_code)
    click.echo(f"removed {factor_id}")


@mfa.command("recovery-codes", help="Make ten new recovery codes; the old ones are good no more.")
@mfa_code_option
@format_option
def recovery_codes(mfa_code: str, output_format: OutputFormat) -> None:
    """Make and show them, once."""

    async def call(proof: pb.Proof) -> pb.CreateRecoveryCodesResponse:
        async with open_api() as hub:
            return await hub.unary(
                _SERVICE + "CreateRecoveryCodes",
                pb.CreateRecoveryCodesRequest(proof=proof),
                pb.CreateRecoveryCodesResponse,
            )

    codes = list(proven(call, mfa_code=mfa_code).codes)
    if output_format is OutputFormat.TEXT:
        _print_codes(codes)
    else:
        print_record({"codes": codes}, output_format)


def _new_code() -> str:
    """Ask for the first code of a new app. :raises CliError: nobody is there to type one."""
    try:
        return str(click.prompt("Code that it shows now", err=True))
    except click.Abort:
        if sys.stdin.isatty():
            raise
        raise CliError(
            "the app was not added",
            "its first code has to be typed, and standard input has ended",
            "run this in a terminal, or add the app in the browser",
        ) from None


def qr_code(text: str) -> str:
    """Return a QR code that a terminal shows: two rows of it in one line of half blocks."""
    import io  # noqa: PLC0415

    import segno  # noqa: PLC0415 - only this needs it

    drawn = io.StringIO()
    segno.make(text, error="l", micro=False).terminal(out=drawn, compact=True)
    return drawn.getvalue()


def _print_codes(codes: list[str]) -> None:
    click.echo(
        "\nRecovery codes, each good once where the factor is not at hand. They are not shown again:\n"
    )
    for code in codes:
        click.echo(f"  {escape_controls(code)}")


def _add_in_browser() -> None:
    click.echo(f"Security keys are added in the browser:\n{factors_page(run_command(_list))}")


async def _list() -> pb.ListFactorsResponse:
    async with open_api() as hub:
        return await hub.unary(_SERVICE + "ListFactors", pb.ListFactorsRequest(), pb.ListFactorsResponse)


async def _begin_totp(proof: pb.Proof) -> pb.BeginTotpResponse:
    async with open_api() as hub:
        return await hub.unary(_SERVICE + "BeginTotp", pb.BeginTotpRequest(proof=proof), pb.BeginTotpResponse)


async def _finish_totp(challenge_id: str, code: str, name: str) -> pb.FinishTotpResponse:
    request = pb.FinishTotpRequest(challenge_id=challenge_id, code="".join(code.split()), name=name)
    async with open_api() as hub:
        return await hub.unary(_SERVICE + "FinishTotp", request, pb.FinishTotpResponse)
