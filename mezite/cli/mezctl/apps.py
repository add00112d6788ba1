# SPDX-License-Identifier: Apache-2.0
"""`mezctl apps`: applications behind agents."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from mezite.api.pb.mezite.v1 import apps_pb2 as pb
from mezite.cli.hub_client.auth_server import AuthServer, auth_server
from mezite.cli.hub_client.hub_connection import open_hub
from mezite.cli.lazy_group import CommandGroup
from mezite.cli.terminal.app_rows import APP_COLUMNS, app_row, app_text
from mezite.cli.terminal.errors import EXIT_USAGE, CliError, run_command
from mezite.cli.terminal.output import OutputFormat, format_option, print_record, print_rows
from mezite.core.durations import parse_duration
from mezite.core.labels import InvalidLabelsError, parse_labels

__all__ = ["apps"]

_SERVICE = "/mezite.v1.AppService/"

SIZE = re.compile(r"([0-9]{1,15})(|B|KiB|MiB|GiB)", re.ASCII)
MAX_INT32 = 2**31 - 1
"""More than any interval that a hub accepts."""
FACTORS = {"": 1, "B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


@click.group(cls=CommandGroup, help="Applications behind agents.")
def apps() -> None:
    """Group only."""


@apps.command(
    help="Register an application, or change the one of that name. What is not said takes its default."
)
@click.option("--name", required=True, metavar="NAME", help="Letters, digits and -.")
@click.option(
    "--uri",
    required=True,
    metavar="URI",
    help="Where agents reach it: http://, https://, h2c:// or tcp://HOST:PORT.",
)
@click.option(
    "--public-addr",
    default="",
    metavar="HOST",
    help="Where browsers reach it, below the apps domain.  [default: NAME.APPS_DOMAIN; none for TCP]",
)
@click.option("--labels", default="", metavar="K=V,K=V", help="Roles find it by these.")
@click.option(
    "--agent-hostname",
    "agent_hostnames",
    multiple=True,
    metavar="NODE",
    help="A node whose agent reaches it; repeatable. None: the agents that it has stay.",
)
@click.option("--protocol", type=click.Choice(["http", "tcp"]), help="[default: as the URI says]")
@click.option(
    "--cors-origins", default="", metavar="ORIGIN,ORIGIN", help="Whose pages may call it as the user."
)
@click.option(
    "--ca-file",
    type=click.Path(path_type=Path),
    help="Certificates that an https:// URI is verified against.",
)
@click.option("--insecure-skip-verify", is_flag=True, help="Believe whoever answers at an https:// URI.")
@click.option(
    "--request-header",
    "request_headers",
    multiple=True,
    metavar="NAME=VALUE",
    help="Replace a header of requests; NAME= removes it.",
)
@click.option(
    "--response-header",
    "response_headers",
    multiple=True,
    metavar="NAME=VALUE",
    help="The same for responses.",
)
@click.option("--max-body", default="0", metavar="SIZE", help="The largest body of a request: 10MiB. 0: any.")
@click.option(
    "--rewrite-location", is_flag=True, help="Turn the URI into the public address in redirects and cookies."
)
@click.option("--http1-only", is_flag=True, help="Do not offer HTTP/2 to an https:// URI.")
@click.option(
    "--health-path",
    default="",
    metavar="PATH",
    help="Check through each agent that this path answers 2xx or 3xx.",
)
@click.option(
    "--health-interval",
    default="",
    metavar="DURATION",
    help="How often; without --health-path a connection is the check.  [default: 30s with a path, else never]",
)
@format_option
@click.pass_context
def register(ctx: click.Context, /, output_format: OutputFormat, **given: Any) -> None:
    """Send the whole registration."""
    request = pb.RegisterAppRequest(
        name=given["name"],
        uri=given["uri"],
        public_addr=given["public_addr"],
        labels=_labels(given["labels"]),
        protocol=given["protocol"] or "",
        agent_hostnames=given["agent_hostnames"],
        options=_options(given),
    )
    answer = run_command(_register, auth_server(ctx), request)
    if output_format is not OutputFormat.TEXT:
        print_record(app_row(answer.app) | {"created": answer.created}, output_format)
    else:
        where = answer.app.public_addr or f"`msh app login {answer.app.name} --port N`"
        click.echo(f"application {answer.app.name} {'registered' if answer.created else 'updated'}: {where}")
    _warn(answer)


@apps.command("ls", help="List applications.")
@format_option
@click.pass_context
def list_apps(ctx: click.Context, output_format: OutputFormat) -> None:
    """List applications by name."""
    listed = run_command(_list, auth_server(ctx))
    print_rows([app_row(app) for app in listed.apps], APP_COLUMNS, output_format)


@apps.command(help="Show one application.")
@click.argument("name")
@format_option
@click.pass_context
def get(ctx: click.Context, name: str, output_format: OutputFormat) -> None:
    """Show one application."""
    app = run_command(_get, auth_server(ctx), name)
    print_record(app_text(app) if output_format is OutputFormat.TEXT else app_row(app), output_format)


_agent = click.option("--agent-hostname", required=True, metavar="NODE", help="The name of a node.")


@apps.command("add-agent", help="Let one more agent serve an application.")
@click.argument("name")
@_agent
@click.pass_context
def add_agent(ctx: click.Context, name: str, agent_hostname: str) -> None:
    """Bind an agent."""
    request = pb.AddAppAgentRequest(name=name, agent_hostname=agent_hostname)
    answer = run_command(_change, auth_server(ctx), "AddAppAgent", request)
    click.echo(f"application {name} is served by {_agents(answer.app)}")
    _warn(answer)


@apps.command("rm-agent", help="Let an agent serve an application no more.")
@click.argument("name")
@_agent
@click.pass_context
def rm_agent(ctx: click.Context, name: str, agent_hostname: str) -> None:
    """Unbind an agent."""
    request = pb.RemoveAppAgentRequest(name=name, agent_hostname=agent_hostname)
    answer = run_command(_change, auth_server(ctx), "RemoveAppAgent", request)
    click.echo(f"application {name} is served by {_agents(answer.app)}")


@apps.command(help="Let users reach an application again.")
@click.argument("name")
@click.pass_context
def enable(ctx: click.Context, name: str) -> None:
    """Enable one application."""
    _set_enabled(ctx, name, True)


@apps.command(help="Take an application offline; what runs on it is cut.")
@click.argument("name")
@click.pass_context
def disable(ctx: click.Context, name: str) -> None:
    """Disable one application."""
    _set_enabled(ctx, name, False)


@apps.command("rm", help="Remove an application; what runs on it is cut.")
@click.argument("name")
@click.pass_context
def remove(ctx: click.Context, name: str) -> None:
    """Remove one application."""
    run_command(_remove, auth_server(ctx), name)
    click.echo(f"application {name} removed")


def _set_enabled(ctx: click.Context, name: str, enabled: bool) -> None:
    request = pb.SetAppEnabledRequest(name=name, enabled=enabled)
    run_command(_change, auth_server(ctx), "SetAppEnabled", request)
    click.echo(f"application {name} is {'enabled' if enabled else 'disabled'}")


def _labels(text: str) -> dict[str, str]:
    try:
        return parse_labels(text)
    except InvalidLabelsError as error:
        raise CliError("--labels cannot be read", str(error), exit_code=EXIT_USAGE) from None


def _options(given: Mapping[str, Any]) -> pb.AppOptions:
    origins = (origin.strip() for origin in given["cors_origins"].split(","))
    return pb.AppOptions(
        cors_origins=[origin for origin in origins if origin],
        ca_pem="" if given["ca_file"] is None else _certificates(given["ca_file"]),
        insecure_skip_verify=given["insecure_skip_verify"],
        request_headers=_rules("--request-header", given["request_headers"]),
        response_headers=_rules("--response-header", given["response_headers"]),
        max_body=_size(given["max_body"]),
        rewrite_location=given["rewrite_location"],
        http1_only=given["http1_only"],
        health_path=given["health_path"],
        health_interval_seconds=_interval(given["health_interval"]),
    )


def _interval(text: str) -> int:
    try:
        seconds = parse_duration(text) if text else 0
    except ValueError as error:
        raise CliError("--health-interval cannot be read", str(error), exit_code=EXIT_USAGE) from None
    return min(seconds, MAX_INT32)


def _certificates(path: Path) -> str:
    """Return the certificates in a file, as text; a key that stands beside them stays here."""
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "it is not PEM"
        raise CliError(f"--ca-file {path} cannot be read", why, exit_code=EXIT_USAGE) from None
    found = re.findall(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----", text)
    if not found:
        raise CliError(f"--ca-file {path} has no certificate", "it must be in PEM", exit_code=EXIT_USAGE)
    return "\n".join(found) + "\n"


def _rules(option: str, texts: Sequence[str]) -> dict[str, str]:
    rules = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or name.lower() in rules:
            why = "is given twice" if equals else "has no '='"
            hint = "write NAME=VALUE, or NAME= to remove the header"
            raise CliError(f"{option} {text}", why, hint, exit_code=EXIT_USAGE)
        rules[name.lower()] = value
    return rules


def _size(text: str) -> int:
    match = SIZE.fullmatch(text)
    if match is None:
        raise CliError(
            "--max-body cannot be read", f"{text!r} is no size", "write bytes, or 10MiB", exit_code=EXIT_USAGE
        )
    return int(match[1]) * FACTORS[match[2]]


def _agents(app: pb.App) -> str:
    return ", ".join(f"{agent.hostname} ({agent.status})" for agent in app.agents) or "no agent"


def _warn(answer: pb.AppChangeResponse) -> None:
    for warning in answer.warnings:
        click.echo(f"warning: {warning}", err=True)


async def _register(options: AuthServer, request: pb.RegisterAppRequest) -> pb.AppChangeResponse:
    async with open_hub(options) as hub:
        return await hub.unary(_SERVICE + "RegisterApp", request, pb.AppChangeResponse)


async def _list(options: AuthServer) -> pb.ListAppsResponse:
    async with open_hub(options) as hub:
        return await hub.unary(_SERVICE + "ListApps", pb.ListAppsRequest(), pb.ListAppsResponse)


async def _get(options: AuthServer, name: str) -> pb.App:
    async with open_hub(options) as hub:
        return await hub.unary(_SERVICE + "GetApp", pb.GetAppRequest(name=name), pb.App)


async def _change(
    options: AuthServer,
    method: str,
    request: pb.AddAppAgentRequest | pb.RemoveAppAgentRequest | pb.SetAppEnabledRequest,
) -> pb.AppChangeResponse:
    async with open_hub(options) as hub:
        return await hub.unary(_SERVICE + method, request, pb.AppChangeResponse)


async def _remove(options: AuthServer, name: str) -> None:
    async with open_hub(options) as hub:
        await hub.unary(_SERVICE + "RemoveApp", pb.RemoveAppRequest(name=name), pb.RemoveAppResponse)
