# SPDX-License-Identifier: Apache-2.0
"""`msh logout`: forget the certificates."""

from __future__ import annotations

import os

import click

from mezite.cli.hub_client.profile_store import ProfileStore

__all__ = ["logout"]


@click.command(help="Forget the certificates of the current profile.")
def logout() -> None:
    """Delete the profile's keys and certificates from this machine."""
    store = ProfileStore.from_environment(os.environ)
    current = store.current()
    store.forget(current)
    click.echo(f"logged out of {current.cluster} as {current.user}", err=True)
