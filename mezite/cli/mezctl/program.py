# SPDX-License-Identifier: Apache-2.0
"""``mezctl``: what administrators type. Speaks gRPC only."""

from __future__ import annotations

import sys
from typing import Any

import attrs
import click

from mezite.cli.errors import run_program
from mezite.cli.lazy_group import LazyCommand, program_group
from mezite.core.secret import Secret

__all__ = ["AuthServer", "auth_server", "main", "mezctl"]

_KEY = "mezite.auth_server"


@attrs.frozen(kw_only=True)
class AuthServer:
    """The global options: which API to call, and as whom."""

    address: str = "localhost:3025"
    """``HOST[:PORT]`` of the gRPC API."""
    address_given: bool = False
    """Whether the user chose the address; if not, the profile of ``msh login`` may know a better one."""
    token: Secret | None = None
    """Session token of ``mezctl login``; None to use the profile of ``msh login``."""
    ca_pin: str | None = None
    """``sha256:<64 hex>`` that the hub's CA must have."""
    ca_file: str | None = None
    """PEM file with further roots, for a balancer that ends TLS."""
    plaintext: bool = False
    """h2c instead of TLS."""


def auth_server(ctx: click.Context) -> AuthServer:
    """Return the global options that stood before the command."""
    found = ctx.meta.get(_KEY, AuthServer())
    assert isinstance(found, AuthServer)
    return found


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
    ctx.meta[_KEY] = AuthServer(
        address=address or "localhost:3025",
        address_given=address is not None,
        token=Secret(token) if token else None,
        ca_pin=options["ca_pin"],
        ca_file=options["ca_file"],
        plaintext=options["plaintext"],
    )


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
