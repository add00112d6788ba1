# SPDX-License-Identifier: Apache-2.0
"""``mezctl``: what administrators type. Speaks gRPC only."""

from __future__ import annotations

import sys
from typing import Any

import click

from mezite.cli.hub_client.auth_server import AuthServer, remember
from mezite.cli.lazy_group import LazyCommand, program_group
from mezite.cli.terminal.errors import run_program
from mezite.core.secret import Secret

__all__ = ["main", "mezctl"]


def _options() -> list[click.Parameter]:
    return [
        click.Option(
            ["--auth-server"],
            metavar="HOST:PORT",
            envvar="MEZITE_AUTH_SERVER",
            help="The hub's gRPC address.  [default: localhost:3025]",
        ),
        click.Option(
            ["--token"], metavar="TOKEN", envvar="MEZITE_AUTH_TOKEN", help="Session token of mezctl login."
        ),
        click.Option(["--ca-pin"], metavar="PIN", help="What the hub's CA must hash to."),
        click.Option(["--ca-file"], metavar="FILE", type=click.Path(), help="Further roots, PEM."),
        click.Option(["--plaintext"], is_flag=True, help="No TLS, for a private network."),
    ]


@click.pass_context
def _remember(ctx: click.Context, /, **options: Any) -> None:
    address, token = options["auth_server"], options["token"]
    server = AuthServer(
        address=address or "localhost:3025",
        address_given=address is not None,
        token=Secret(token) if token else None,
        ca_pin=options["ca_pin"],
        ca_file=options["ca_file"],
        plaintext=options["plaintext"],
    )
    remember(ctx, server)


mezctl = program_group(
    "mezctl",
    "Administer a mezite cluster.",
    {
        "login": LazyCommand("mezite.cli.mezctl.login:login", "Print a session token."),
        "users": LazyCommand("mezite.cli.mezctl.users:users", "Local users."),
        "roles": LazyCommand("mezite.cli.mezctl.roles:roles", "Roles: who may what."),
        "connectors": LazyCommand(
            "mezite.cli.mezctl.connectors:connectors", "Single sign-on: identity providers."
        ),
        "access": LazyCommand("mezite.cli.mezctl.access:access", "Why somebody may, or may not."),
        "devices": LazyCommand("mezite.cli.mezctl.devices:devices", "Devices of users."),
        "requests": LazyCommand("mezite.cli.mezctl.requests:requests", "Access requests."),
        "tokens": LazyCommand("mezite.cli.mezctl.tokens:tokens", "Join tokens for agents."),
        "identities": LazyCommand("mezite.cli.mezctl.identities:identities", "Machine identities."),
        "nodes": LazyCommand("mezite.cli.mezctl.nodes:nodes", "Nodes of the cluster."),
        "apps": LazyCommand("mezite.cli.mezctl.apps:apps", "Applications behind agents."),
        "sessions": LazyCommand("mezite.cli.mezctl.sessions:sessions", "Live sessions: SSH, and logins."),
        "locks": LazyCommand("mezite.cli.mezctl.locks:locks", "Stop somebody or something now."),
        "auth": LazyCommand("mezite.cli.mezctl.auth:auth", "Signing keys and their rotation."),
        "audit": LazyCommand("mezite.cli.mezctl.audit:audit", "What happened."),
        "doctor": LazyCommand("mezite.cli.mezctl.doctor:doctor", "Find out why the API cannot be used."),
        "completion": LazyCommand("mezite.cli.completion:completion", "Print a shell completion script."),
    },
    callback=_remember,
    params=_options(),
)


def main() -> None:
    """Run ``mezctl`` and exit."""
    sys.exit(run_program(mezctl, "mezctl"))
