# SPDX-License-Identifier: Apache-2.0
"""`msh config`: an ssh_config block with which ssh, scp, rsync, git, Ansible and editors reach nodes unchanged."""

from __future__ import annotations

import os

import click

from mezite.cli.profile_store import ProfileStore
from mezite.cli.program_path import program_text

__all__ = ["config"]


@click.command(help="Print an ssh_config block for NODE.CLUSTER; add it to ~/.ssh/config.")
def config() -> None:
    """Print the block. It names files, so it stays good after the next `msh login`."""
    store = ProfileStore.from_environment(os.environ)
    current = store.current()
    user, host = store.user_directory(current.host, current.user), store.host_directory(current.host)
    environment = f"env MSH_HOME={store.root} " if "MSH_HOME" in os.environ else ""
    proxy = f"{environment}{program_text('msh')} proxy ssh --login=%r %h:%p"
    click.echo(
        f"# nodes of {current.cluster} through {current.proxy_addr}, as {current.user}\n"
        f"Host *.{current.cluster}\n"
        f"    ProxyCommand {proxy}\n"
        f'    IdentityFile "{user / "key"}"\n'
        f'    CertificateFile "{user / "key-cert.pub"}"\n'
        "    IdentitiesOnly yes\n"
        f'    UserKnownHostsFile "{host / "known_hosts"}"\n'
        "    GlobalKnownHostsFile none\n"
        "    StrictHostKeyChecking yes\n"
        "    ServerAliveInterval 15"
    )
