# SPDX-License-Identifier: Apache-2.0
"""OpenSSH identity files, as `ssh -i PATH` finds them: `PATH`, `PATH-cert.pub`, `PATH.pub`."""

from __future__ import annotations

import os
from pathlib import Path

from mezite.cli.hub_client.profile_store import Profile
from mezite.cli.terminal.errors import CliError
from mezite.core.certificates.openssh_key import public_line_of_private_key

__all__ = ["write_identity_files"]


def write_identity_files(path: Path, profile: Profile) -> None:
    """Write the private key (0600), the certificate and the public key; existing ones are replaced.

    Beside them goes `PATH.known_hosts`, so that `ssh -o UserKnownHostsFile=PATH.known_hosts` trusts the cluster.

    :raises CliError: a file cannot be written.
    """
    files = {
        path: profile.ssh_key,
        Path(f"{path}-cert.pub"): profile.ssh_certificate,
        Path(f"{path}.pub"): f"{public_line_of_private_key(profile.ssh_key)}\n".encode(),
        Path(f"{path}.known_hosts"): profile.known_hosts,
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for target, data in files.items():
            temporary = target.with_name(f".{target.name}.new")
            temporary.unlink(missing_ok=True)
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            temporary.replace(target)
    except OSError as error:
        raise CliError(f"cannot write {error.filename}", error.strerror or str(error)) from None
