# SPDX-License-Identifier: Apache-2.0
"""`msh config`: an ssh_config block with which ssh, scp, rsync, git, Ansible and editors reach nodes unchanged."""

from __future__ import annotations

import os

import click

from mezite.cli.hub_client.profile_store import ProfileStore
from mezite.cli.hub_client.ssh_settings import node_settings

__all__ = ["config"]


@click.command(help="Print an ssh_config block for NODE.CLUSTER; add it to ~/.ssh/config.")
def config() -> None:
    """Print the block."""
    current = ProfileStore.from_environment(os.environ).current()
    click.echo(f"# nodes of {current.cluster} through {current.proxy_addr}, as {current.user}")
    click.echo(f"Host *.{current.cluster}")
    for keyword, value in node_settings(current).items():
        click.echo(f"    {keyword} {value}")
