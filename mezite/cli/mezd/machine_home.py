# SPDX-License-Identifier: Apache-2.0
"""The directory in which a machine's identity is kept: a home of `msh`, and files under plain names for other programs.

`MSH_HOME=DIR msh …` works with it, and so does `ssh -F DIR/ssh_config`. Each file is replaced as a whole. The keys stay
the same, so that a key and a certificate that are read a moment apart belong together.
"""

from __future__ import annotations

from pathlib import Path

import attrs

from mezite.cli.hub_client.profile_store import CurrentProfile, Profile, ProfileStore, replace_file
from mezite.cli.hub_client.ssh_settings import node_settings
from mezite.cli.terminal.errors import CliError
from mezite.core.certificates.validity import BACKDATE_SECONDS
from mezite.core.certificates.x509_issue import load_certificates

__all__ = ["MachineHome"]

RENEWAL_SHARE = 3
"""Renewed after a third of the life: two more thirds for a hub that is away."""

_OF_USER = ("key", "key-cert.pub", "tls.crt", "tls.key")
_OF_HOST = ("known_hosts", "ca.pem")


@attrs.frozen
class MachineHome:
    """One machine's identity. Methods do blocking file I/O on small local files."""

    folder: Path

    @property
    def store(self) -> ProfileStore:
        """The same directory as `msh` sees it."""
        return ProfileStore(self.folder)

    def is_empty(self) -> bool:
        """Whether there has been no identity here yet."""
        return not (self.folder / "current").exists()

    def load(self) -> tuple[CurrentProfile, Profile]:
        """Return the identity. :raises CliError: it is missing or damaged."""
        current = self.store.current()
        return current, self.store.load(current)

    def save(self, current: CurrentProfile, profile: Profile) -> None:
        """Write the identity, directories 0700 and files 0600. `MSH_HOME` has to name the directory.

        :raises CliError: the files cannot be written.
        """
        self.store.save(current, profile)
        user = self.store.user_directory(current.host, current.user)
        host = self.store.host_directory(current.host)
        try:
            for folder, names in ((user, _OF_USER), (host, _OF_HOST)):
                for name in names:
                    _link(self.folder / name, (folder / name).relative_to(self.folder))
            replace_file(self.folder / "ssh_config", self._ssh_config(current).encode())
        except OSError as error:
            raise CliError(f"cannot write {error.filename}", error.strerror or str(error)) from None

    def _ssh_config(self, current: CurrentProfile) -> str:
        settings = (f"    {keyword} {value}\n" for keyword, value in node_settings(current).items())
        return (
            f"# nodes of {current.cluster}, as {current.user}\nHost *.{current.cluster}\n{''.join(settings)}"
        )

    def lifetime(self) -> tuple[int, int]:
        """Return when the certificate was issued and when it ends, seconds since 1970.

        :raises CliError: it is missing or damaged.
        """
        _current, profile = self.load()
        try:
            certificate = load_certificates(profile.tls_certificate)[0]
        except ValueError as error:
            raise CliError(f"cannot use {self.folder / 'tls.crt'}", str(error)) from None
        begin, end = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        return int(begin.timestamp()) + BACKDATE_SECONDS, int(end.timestamp())

    def renewal_due(self) -> int:
        """Return when the certificate should be renewed, seconds since 1970. :raises CliError: as `lifetime`."""
        issued, end = self.lifetime()
        return issued + (end - issued) // RENEWAL_SHARE


def _link(path: Path, target: Path) -> None:
    if path.is_symlink() and path.readlink() == target:
        return
    path.unlink(missing_ok=True)
    path.symlink_to(target)
