# SPDX-License-Identifier: Apache-2.0
"""Private keys in OpenSSH's own file format, which `ssh -i` reads for every kind of key.

PKCS #8, the format of our other key files, is read by OpenSSH for Ed25519 only from 9.7 on.
"""

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from mezite.core.certificates.keys import InvalidKeyError, PrivateKey, check_public_key
from mezite.core.certificates.ssh_public_key import authorized_key_line, public_key_blob

__all__ = ["openssh_private_key", "public_line_of_private_key"]


def openssh_private_key(key: PrivateKey) -> bytes:
    """The unencrypted key as `ssh-keygen` writes it, PEM with a final newline."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )


def public_line_of_private_key(pem: bytes) -> str:
    """`TYPE BASE64` of an unencrypted OpenSSH private key. Raises InvalidKeyError: it is none."""
    try:
        key = serialization.load_ssh_private_key(pem, None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise InvalidKeyError("this is not an unencrypted OpenSSH private key") from None
    return authorized_key_line(public_key_blob(check_public_key(key.public_key())))
