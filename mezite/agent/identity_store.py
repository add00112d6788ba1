# SPDX-License-Identifier: Apache-2.0
"""Where an agent keeps who it is: the files in `DATA_DIR/agent/`.

The two private keys are made once, at the first start, and never leave the machine. Everything the hub issues for
them (certificates, CA bundles) is replaced at every renewal. `identity.json` is written last and is what makes the
rest valid, so that a crash in the middle of a renewal leaves an identity that still works.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

import attrs

__all__ = ["AgentIdentityFiles", "IdentityDamagedError", "IdentityStore", "StoredIdentity"]

_TLS_KEY = "key"
_SSH_KEY = "ssh_host_key"
_CERTIFICATE = "x509.pem"
_SSH_CERTIFICATE = "ssh_host_key-cert.pub"
_HOST_CA = "host_ca.pem"
_USER_CA = "user_ca.pub"
_INDEX = "identity.json"
_INDEX_KEYS = {"agent_id", "cluster_name", "node_name", "host_ca_pin"}


class IdentityDamagedError(Exception):
    """The files are there but cannot be what this program wrote; the message names the file."""


@attrs.frozen(kw_only=True)
class StoredIdentity:
    """What the hub issued, as read from or written to the files."""

    agent_id: str
    cluster_name: str
    node_name: str
    host_ca_pin: str
    """64 hex digits: the Host CA key that was pinned when the agent joined."""
    tls_certificate_pem: str
    ssh_host_certificate: str
    """One OpenSSH certificate line."""
    host_tls_ca_pem: tuple[str, ...]
    user_ssh_ca: tuple[str, ...]
    """OpenSSH public key lines of the CAs whose users may log in."""


@attrs.frozen
class AgentIdentityFiles:
    """The private keys, PEM (PKCS #8)."""

    tls_key_pem: bytes = attrs.field(repr=False)
    ssh_key_pem: bytes = attrs.field(repr=False)


class IdentityStore:
    """The folder `DATA_DIR/agent`, mode 0700, its files 0600.

    Calls block on the local disk for well under a millisecond each and happen at start and three times a day.
    """

    def __init__(self, data_dir: Path) -> None:
        self.folder = data_dir / "agent"

    def load_keys(self) -> AgentIdentityFiles | None:
        """Return the private keys, or None when there are none yet.

        :raises IdentityDamagedError: only one of the two is there.
        :raises OSError: they are there but cannot be read.
        """
        tls, ssh = self._read(_TLS_KEY), self._read(_SSH_KEY)
        if tls is None and ssh is None:
            return None
        if tls is None or ssh is None:
            missing = _TLS_KEY if tls is None else _SSH_KEY
            raise IdentityDamagedError(f"{self.folder / missing} is missing although the other key is there")
        return AgentIdentityFiles(tls_key_pem=tls, ssh_key_pem=ssh)

    def save_keys(self, keys: AgentIdentityFiles) -> None:
        """Write fresh private keys. :raises OSError: the disk refuses."""
        self._write(_TLS_KEY, keys.tls_key_pem)
        self._write(_SSH_KEY, keys.ssh_key_pem)

    def load(self) -> StoredIdentity | None:
        """Return the identity, or None when the agent has not joined yet.

        :raises IdentityDamagedError: a file is missing or is not what was written.
        """
        index = self._read(_INDEX)
        if index is None:
            return None
        values = self._index_values(index)
        return StoredIdentity(
            **values,
            tls_certificate_pem=self._text(_CERTIFICATE),
            ssh_host_certificate=self._text(_SSH_CERTIFICATE).strip(),
            host_tls_ca_pem=tuple(_split_pem(self._text(_HOST_CA))),
            user_ssh_ca=tuple(line for line in self._text(_USER_CA).splitlines() if line),
        )

    def save(self, identity: StoredIdentity) -> None:
        """Replace the stored identity; each file atomically, the index last. :raises OSError: the disk refuses."""
        self.save_trust(identity)
        self._write(_SSH_CERTIFICATE, f"{identity.ssh_host_certificate}\n".encode())
        self._write(_CERTIFICATE, identity.tls_certificate_pem.encode())
        index = {name: getattr(identity, name) for name in sorted(_INDEX_KEYS)}
        self._write(_INDEX, json.dumps(index, indent=2).encode() + b"\n")

    def save_trust(self, identity: StoredIdentity) -> None:
        """Replace the CAs alone, each file atomically: between the two, both the old and the new ones work.

        When this returns, a power cut does not undo it. :raises OSError: the disk refuses.
        """
        self._write(_HOST_CA, "".join(identity.host_tls_ca_pem).encode())
        self._write(_USER_CA, "".join(f"{line}\n" for line in identity.user_ssh_ca).encode())

    def _index_values(self, raw: bytes) -> Mapping[str, str]:
        path = self.folder / _INDEX
        try:
            values = json.loads(raw)
        except ValueError as error:
            raise IdentityDamagedError(f"{path} is not JSON: {error}") from None
        if not isinstance(values, dict) or set(values) != _INDEX_KEYS:
            raise IdentityDamagedError(f"{path} does not have the keys {', '.join(sorted(_INDEX_KEYS))}")
        if not all(isinstance(value, str) and value for value in values.values()):
            raise IdentityDamagedError(f"{path} has an empty or non-text value")
        return values

    def _text(self, name: str) -> str:
        data = self._read(name)
        if data is None:
            raise IdentityDamagedError(f"{self.folder / name} is missing")
        try:
            return data.decode("ascii")
        except UnicodeDecodeError:
            raise IdentityDamagedError(f"{self.folder / name} is not ASCII text") from None

    def _read(self, name: str) -> bytes | None:
        try:
            return (self.folder / name).read_bytes()
        except FileNotFoundError:
            return None

    def _write(self, name: str, data: bytes) -> None:
        """Create with 0600 from the first moment, sync, rename (threat F7)."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        temporary = self.folder / f".{name}.new"
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.folder / name)
        # The new name is safe only when the folder is: a hub relies on what an agent says it has stored (threat F5).
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _split_pem(text: str) -> list[str]:
    """Cut a bundle into its PEM blocks, each ending in a newline."""
    end = "-----END CERTIFICATE-----"
    return [f"{block.strip()}\n{end}\n" for block in text.split(end) if block.strip()]
