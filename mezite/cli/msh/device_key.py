# SPDX-License-Identifier: Apache-2.0
"""The key of this device, one for each user at each hub: beside the profile, and there when that is forgotten."""

from __future__ import annotations

import base64
import json
import os
import secrets
from pathlib import Path

import attrs

from mezite.cli.hub_client.profile_store import ProfileStore
from mezite.cli.terminal.errors import CliError
from mezite.core.certificates.keys import PrivateKey, generate_ed25519, load_private_key, private_key_pem
from mezite.core.certificates.ssh import authorized_key_line, public_key_blob
from mezite.core.device_proof import DevicePurpose, sign_proof

__all__ = ["DeviceKey"]

_FILE = "device.json"


@attrs.frozen(kw_only=True)
class DeviceKey:
    """An enrolled key."""

    device_id: str
    key: PrivateKey = attrs.field(repr=False)

    @classmethod
    def make(cls) -> DeviceKey:
        """A fresh key that is not enrolled yet."""
        return cls(device_id="", key=generate_ed25519())

    @classmethod
    def load(cls, store: ProfileStore, host: str, user: str) -> DeviceKey | None:
        """Return the key of this user at this hub, None when there is none. :raises CliError: it is damaged."""
        path = store.user_directory(host, user) / _FILE
        try:
            fields = json.loads(path.read_bytes())
            return cls(device_id=fields["id"], key=load_private_key(fields["key"].encode(), None))
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CliError(f"cannot read {path}", error.strerror or str(error)) from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise CliError(
                f"cannot use {path}", "it is damaged", "delete it and run msh device enroll"
            ) from None

    def save(self, store: ProfileStore, host: str, user: str) -> None:
        """Write the key, 0600. :raises CliError: it cannot be written."""
        directory = store.user_directory(host, user)
        text = json.dumps({"id": self.device_id, "key": private_key_pem(self.key).decode()})
        path = directory / _FILE
        # A name of our own: with O_EXCL, nobody can have prepared a file or a symbolic link under it.
        beside = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            with os.fdopen(os.open(beside, flags, 0o600), "w") as file:
                file.write(text)
            beside.replace(path)
        except OSError as error:
            raise CliError(f"cannot write {path}", error.strerror or str(error)) from None

    @staticmethod
    def forget(store: ProfileStore, host: str, user: str) -> None:
        """Delete the key; one that is gone is no error."""
        (Path(store.user_directory(host, user)) / _FILE).unlink(missing_ok=True)

    @property
    def public_line(self) -> str:
        """`TYPE BASE64`."""
        return authorized_key_line(public_key_blob(self.key.public_key()))

    def prove(self, purpose: DevicePurpose, *parts: str) -> bytes:
        """Sign."""
        return sign_proof(self.key, purpose, *parts)

    def login_fields(self, cluster: str, user: str, challenge: str, keys: str) -> dict[str, str]:
        """Return what a login shows of this device; `keys` stands for what is to be certified."""
        proof = self.prove(DevicePurpose.LOGIN, cluster, user, challenge, keys)
        return {
            "device_id": self.device_id,
            "device_challenge": challenge,
            "device_signature": base64.b64encode(proof).decode(),
        }
