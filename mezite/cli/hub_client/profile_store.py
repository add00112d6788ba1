# SPDX-License-Identifier: Apache-2.0
"""What ``msh`` remembers: certificates per hub and user, and which of them is in use.

Layout below ``~/.msh`` (``MSH_HOME`` overrides)::

    current                                         HOST and USER in use, and the addresses of the hub
    HOST/{known_hosts,ca.pem}                       and front-roots, behind a balancer that ends TLS
    HOST/USER/{key,key-cert.pub,tls.crt,tls.key}

Directories are 0700, files 0600. A file is never changed in place: it is written beside its place with
O_EXCL, synced and renamed, so that a reader sees the old one or the new one and nobody else sees either
(F7).
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Mapping
from pathlib import Path

import attrs

from mezite.cli.terminal.errors import CliError

__all__ = ["CurrentProfile", "Profile", "ProfileStore", "as_reached", "replace_file"]

# Certificates with many roles stay far below; a larger file here is damage or an attack.
_MAX_FILE = 1024 * 1024
# Names become directory names: nothing that could leave the directory, and nothing hidden.
_SAFE_NAME = re.compile(r"[A-Za-z0-9_\[][A-Za-z0-9_.@+:\[\]-]{0,252}")


@attrs.frozen(kw_only=True)
class CurrentProfile:
    """Which hub and user ``msh`` acts for."""

    host: str
    """Host name of the hub as the user gave it to ``msh login``; also the directory's name."""
    user: str
    cluster: str
    proxy_addr: str
    """``host:port`` of the HTTPS listener."""
    auth_addr: str = ""
    ssh_addr: str = ""
    carrier: str = "tcp"
    """What the connection to `ssh_addr` travels in, a :class:`mezite.net.tunnel_route.Carrier`; as found to work."""


@attrs.frozen(kw_only=True)
class Profile:
    """Credentials of one user at one hub, as PEM and OpenSSH text."""

    ssh_key: bytes
    ssh_certificate: bytes
    tls_key: bytes
    tls_certificate: bytes
    ca_pem: bytes
    known_hosts: bytes
    front_roots: bytes = b""
    """PEM from `--ca-file`, or ``system``: who vouches for a balancer that ends TLS; empty when there was none."""


_USER_FILES = {
    "ssh_key": "key",
    "ssh_certificate": "key-cert.pub",
    "tls_certificate": "tls.crt",
    "tls_key": "tls.key",
}
_ORDINARY = {"ssh_certificate": "ordinary-cert.pub", "tls_certificate": "ordinary.crt"}
"""The certificates of the login, while those for approved access requests are in use."""

_HOST_FILES = {"ca_pem": "ca.pem", "known_hosts": "known_hosts"}
_FRONT_ROOTS = "front-roots"


@attrs.define(eq=False)
class ProfileStore:
    """The directory of profiles. Methods do blocking file I/O on small local files."""

    root: Path

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> ProfileStore:
        """Return the store at ``MSH_HOME``, else ``~/.msh``."""
        home = environ.get("MSH_HOME")
        return cls(Path(home) if home else Path.home() / ".msh")

    def user_directory(self, host: str, user: str) -> Path:
        """Return where the key and the certificates of ``user`` at ``host`` are.

        :raises CliError: a name that cannot be a directory name.
        """
        return self.root / _checked(host) / _checked(user)

    def host_directory(self, host: str) -> Path:
        """Return where ``known_hosts`` and ``ca.pem`` of ``host`` are.

        :raises CliError: a name that cannot be a directory name.
        """
        return self.root / _checked(host)

    def save(self, current: CurrentProfile, profile: Profile) -> None:
        """Write ``profile`` and make it the current one. ``current`` is replaced last: it never names half
        a profile.

        :raises CliError: the files cannot be written.
        """
        host, user = self.host_directory(current.host), self.user_directory(current.host, current.user)
        try:
            for directory in (self.root, host, user):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
                directory.chmod(0o700)
            for field, name in _HOST_FILES.items():
                replace_file(host / name, getattr(profile, field))
            for field, name in _USER_FILES.items():
                replace_file(user / name, getattr(profile, field))
            for name in _ORDINARY.values():
                (user / name).unlink(missing_ok=True)
            if profile.front_roots:
                replace_file(host / _FRONT_ROOTS, profile.front_roots)
            else:
                (host / _FRONT_ROOTS).unlink(missing_ok=True)
            self._write_current(current)
        except OSError as error:
            raise CliError(f"cannot write {error.filename}", error.strerror or str(error)) from None

    def use_granted(self, current: CurrentProfile, granted: Profile) -> None:
        """Put the certificates of ``granted`` in the place of those of the login, which are kept beside them.

        :raises CliError: the files cannot be written.
        """
        user = self.user_directory(current.host, current.user)
        try:
            for field, name in _ORDINARY.items():
                if not (user / name).exists():
                    replace_file(user / name, _read(user / _USER_FILES[field]))
            for field in _ORDINARY:
                replace_file(user / _USER_FILES[field], getattr(granted, field))
        except OSError as error:
            raise CliError(f"cannot write {error.filename}", error.strerror or str(error)) from None

    def ordinary(self, current: CurrentProfile) -> Profile:
        """Return the credentials of the login, whether or not others are in use. :raises CliError: as `load`."""
        user = self.user_directory(current.host, current.user)
        profile = self.load(current)
        kept = {field: _read_if_there(user / name) for field, name in _ORDINARY.items()}
        return attrs.evolve(profile, **{field: data for field, data in kept.items() if data})

    def end_granted(self, current: CurrentProfile) -> bool:
        """Use the certificates of the login again; False when they are in use anyway.

        :raises CliError: the files cannot be written.
        """
        user = self.user_directory(current.host, current.user)
        try:
            back = [(user / name, user / _USER_FILES[field]) for field, name in _ORDINARY.items()]
            found = [(kept, place) for kept, place in back if kept.exists()]
            for kept, place in found:
                kept.replace(place)
        except OSError as error:
            raise CliError(f"cannot write {error.filename}", error.strerror or str(error)) from None
        return bool(found)

    def remember_carrier(self, current: CurrentProfile, carrier: str) -> None:
        """Note for next time what the connection of ``current`` travels in, if that is still the profile in use.

        :raises CliError: the file cannot be read or written.
        """
        now = self.current()
        if (now.host, now.user) == (current.host, current.user):
            try:
                self._write_current(attrs.evolve(now, carrier=carrier))
            except OSError as error:
                raise CliError(f"cannot write {error.filename}", error.strerror or str(error)) from None

    def remember_cas(self, current: CurrentProfile, profile: Profile) -> None:
        """Replace what is believed of the hub of ``current`` by what ``profile`` says.

        :raises CliError: the files cannot be written.
        """
        host = self.host_directory(current.host)
        try:
            for field, name in _HOST_FILES.items():
                replace_file(host / name, getattr(profile, field))
        except OSError as error:
            raise CliError(f"cannot write {error.filename}", error.strerror or str(error)) from None

    def _write_current(self, current: CurrentProfile) -> None:
        replace_file(self.root / "current", json.dumps(attrs.asdict(current), indent=2).encode() + b"\n")

    def known_roots(self, host: str) -> tuple[bytes, bytes]:
        """Return what an earlier login to ``host`` has learned: its CA, and ``front_roots``; empty for nothing."""
        folder = self.host_directory(host)
        return _read_if_there(folder / "ca.pem"), _read_if_there(folder / _FRONT_ROOTS)

    def current(self) -> CurrentProfile:
        """Return which profile is in use.

        :raises CliError: nobody is signed in, or the file is damaged.
        """
        path = self.root / "current"
        if not path.exists():
            raise CliError(
                "not signed in", f"{self.root} has no current profile", "run msh login --proxy=HOST"
            )
        try:
            fields = json.loads(_read(path))
            current = CurrentProfile(**fields)
        except (ValueError, TypeError):
            raise _damaged(path) from None
        if not all(isinstance(value, str) for value in attrs.asdict(current).values()):
            raise _damaged(path)
        return current

    def load(self, current: CurrentProfile) -> Profile:
        """Return the credentials that ``current`` names; whether they are still valid is for the caller to
        see.

        :raises CliError: a file is missing or damaged.
        """
        host, user = self.host_directory(current.host), self.user_directory(current.host, current.user)
        contents = {field: _read(host / name) for field, name in _HOST_FILES.items()}
        contents |= {field: _read(user / name) for field, name in _USER_FILES.items()}
        contents["front_roots"] = _read_if_there(host / _FRONT_ROOTS)
        for field in ("ssh_key", "tls_key", "tls_certificate", "ca_pem"):
            if b"-----BEGIN " not in contents[field]:
                raise _damaged((host if field in _HOST_FILES else user) / (_HOST_FILES | _USER_FILES)[field])
        return Profile(**contents)

    def forget(self, current: CurrentProfile) -> None:
        """Remove the credentials of ``current``; what is already gone is no error. ``known_hosts`` stays.

        :raises CliError: the files cannot be removed.
        """
        user = self.user_directory(current.host, current.user)
        try:
            names = (*_USER_FILES.values(), *_ORDINARY.values())
            for path in [*(user / name for name in names), self.root / "current"]:
                path.unlink(missing_ok=True)
            if user.is_dir() and not any(user.iterdir()):
                user.rmdir()
        except OSError as error:
            raise CliError(f"cannot remove {error.filename}", error.strerror or str(error)) from None


def as_reached(advertised: str, host: str) -> str:
    """Replace `localhost` in what the hub advertises by the host it was reached under."""
    name, _, port = advertised.rpartition(":")
    return f"{host}:{port}" if name == "localhost" else advertised


def _checked(name: str) -> str:
    if _SAFE_NAME.fullmatch(name) is None:
        raise CliError(f"{name!r} cannot be the name of a host or user")
    return name


def _damaged(path: Path) -> CliError:
    return CliError(f"cannot use {path}", "it is damaged", "run msh login again")


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE + 1)
    except FileNotFoundError:
        raise CliError(f"cannot use {path}", "it is missing", "run msh login again") from None
    except OSError as error:
        raise CliError(f"cannot read {path}", error.strerror or str(error)) from None
    if not data or len(data) > _MAX_FILE:
        raise _damaged(path)
    return data


def _read_if_there(path: Path) -> bytes:
    return _read(path) if path.exists() else b""


def replace_file(path: Path, data: bytes) -> None:
    # A name of our own: with O_EXCL, nobody can have prepared a file or a symbolic link under it.
    beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
