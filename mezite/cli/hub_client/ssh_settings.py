# SPDX-License-Identifier: Apache-2.0
"""What OpenSSH's programs must be told to reach a node: the way, which key to use, and whom to trust."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from mezite.cli.hub_client.profile_store import CurrentProfile, ProfileStore
from mezite.cli.program_path import program_text

__all__ = ["node_settings"]


def node_settings(current: CurrentProfile) -> dict[str, str]:
    """Return ssh_config(5) keywords with their values, quoted as its parser wants them.

    They name files, so they stay good after the next `msh login`, and hold in any directory.
    """
    store = ProfileStore(ProfileStore.from_environment(os.environ).root.absolute())
    user, host = store.user_directory(current.host, current.user), store.host_directory(current.host)
    environment = f"env MSH_HOME={shlex.quote(str(store.root))} " if "MSH_HOME" in os.environ else ""
    program = f"{environment}{program_text('msh')}".replace("%", "%%")
    return {
        "ProxyCommand": f"{program} proxy ssh --login=%r %h:%p",
        "IdentityFile": _quoted(user / "key"),
        "CertificateFile": _quoted(user / "key-cert.pub"),
        # Not also `IdentityAgent none`: ssh would have no agent to forward then.
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": _quoted(host / "known_hosts"),
        "GlobalKnownHostsFile": "none",
        "StrictHostKeyChecking": "yes",
        "ServerAliveInterval": "15",
    }


def _quoted(path: Path) -> str:
    """A path may hold blanks, and the per cent sign that begins ssh's own tokens."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{text}"'
