# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from mezite.core.certificates.keys import InvalidKeyError, generate_ed25519, generate_p256
from mezite.core.certificates.openssh_key import openssh_private_key, public_line_of_private_key
from mezite.core.certificates.ssh_public_key import authorized_key_line, public_key_blob
from tests.core.certificates.ssh_material import number, string


def test_round_trip() -> None:
    for key in (generate_ed25519(), generate_p256()):
        line = public_line_of_private_key(openssh_private_key(key))
        assert line == authorized_key_line(public_key_blob(key.public_key()))


@pytest.mark.e2e
def test_ssh_keygen_reads_it(tmp_path: Path) -> None:
    key = generate_ed25519()
    path = tmp_path / "key"
    path.touch(mode=0o600)
    path.write_bytes(openssh_private_key(key))
    shown = subprocess.run(["ssh-keygen", "-y", "-f", path], capture_output=True, text=True, check=True)
    assert shown.stdout.split()[:2] == public_line_of_private_key(path.read_bytes()).split()


def encrypted() -> bytes:
    return ed25519.Ed25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.OpenSSH,
        serialization.BestAvailableEncryption(b"secret"),
    )


def of_a_security_key() -> bytes:
    """Only the handle of such a key is in its file, so that no library loads it."""
    key_type = string(b"sk-ssh-ed25519@openssh.com")
    public = key_type + string(bytes(32)) + string(b"ssh:")
    private = bytes(8) + public + bytes(1) + string(b"handle") + string(b"") + string(b"")
    raw = b"openssh-key-v1\0" + string(b"none") * 2 + string(b"") + number(1, 4) + string(public)
    raw += string(private + bytes(range(1, 1 + -len(private) % 8)))
    body = base64.encodebytes(raw)
    return b"-----BEGIN OPENSSH PRIVATE KEY-----\n" + body + b"-----END OPENSSH PRIVATE KEY-----\n"


@pytest.mark.parametrize("pem", [b"", b"garbage", encrypted(), of_a_security_key()])
def test_refuses_what_is_no_open_key(pem: bytes) -> None:
    with pytest.raises(InvalidKeyError, match=r"^this is not an unencrypted OpenSSH private key$"):
        public_line_of_private_key(pem)
