# SPDX-License-Identifier: Apache-2.0
"""`mezhub bootstrap`: the first administrator, straight into the database, on the hub's own machine (threat E16)."""

from __future__ import annotations

import os

import click
import trio

from mezite.cli.terminal.errors import CliError, first_cause, run_command
from mezite.cli.terminal.prompts import given_password, password_options
from mezite.config.loader import load_hub_config
from mezite.config.schema import HubConfig
from mezite.core.secret import Secret
from mezite.hub.ground import open_ground
from mezite.services.authorities.certificate_authority import CaPassphraseError
from mezite.services.errors import RefusedError
from mezite.services.public_addresses import PublicAddresses
from mezite.services.sources import system_sources
from mezite.services.users.accounts import CreatedUser
from mezite.storage.errors import StorageError

__all__ = ["bootstrap"]


@click.command(help="Create the first administrator; without a password an invite URL is printed.")
@click.option("--config", metavar="FILE", required=True, help="The configuration file.")
@click.option("--user", required=True, metavar="NAME", help="Name of the administrator.")
@click.option("--roles", default="admin", show_default=True, metavar="A,B", help="Roles, comma-separated.")
@password_options
def bootstrap(config: str, user: str, roles: str, password: str | None, password_stdin: bool) -> None:
    """Create the user and say how to go on."""
    loaded = load_hub_config(config, os.environ)
    secret = given_password(password, from_stdin=password_stdin)
    created = run_command(_bootstrap, loaded, user, tuple(roles.split(",")), secret)
    click.echo(f"user {user} created")
    if created.invite_token is not None:
        public = loaded.proxy.public_addr
        addresses = PublicAddresses(None if public is None else str(public))
        addresses.bound({"web": f"{loaded.proxy.listen_addr.host}:{loaded.proxy.listen_addr.port}"})
        click.echo(f"invite (valid for 24 hours, once):\n{addresses.invite_url(created.invite_token)}")


async def _bootstrap(
    config: HubConfig, user: str, roles: tuple[str, ...], password: Secret | None
) -> CreatedUser:
    try:
        async with open_ground(config, system_sources()) as ground, trio.open_nursery() as nursery:
            await nursery.start(ground.audit.run)
            created = await ground.accounts.create(
                user,
                roles=roles,
                traits={},
                password="" if password is None else password.reveal(),
                by="bootstrap",
            )
            nursery.cancel_scope.cancel()
    except* RefusedError as group:
        raise CliError(f"cannot create {user}", str(first_cause(group))) from None
    except* (CaPassphraseError, StorageError) as group:
        raise CliError("cannot use the database", str(first_cause(group))) from None
    return created
