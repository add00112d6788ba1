# SPDX-License-Identifier: Apache-2.0
"""What is offered to SSH peers, and the host's certificate as the key that paramiko signs with.

The lists leave nothing for ssh-audit to complain about. They are this short because peers speak first and
choose: OpenSSH prefers ctr modes to GCM, and here GCM costs a third of what ctr with a MAC does, so ctr is
not offered.
"""

from __future__ import annotations

import base64
import binascii

import attrs
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from paramiko.kex_curve25519 import KexCurve25519
from paramiko.kex_mlkem import KexMLKEM768X25519
from paramiko.message import Message
from paramiko.pkey import PKey

from mezite.ssh.errors import SshError
from mezite.ssh.wire import WireReader, string

__all__ = [
    "CIPHERS",
    "HOST_CERTIFICATE_TYPE",
    "KEX",
    "KEX_ENGINES",
    "MACS",
    "SIGNATURE_ALGORITHMS",
    "HostCertKey",
    "HostIdentity",
]

HOST_CERTIFICATE_TYPE = "ssh-ed25519-cert-v01@openssh.com"
#: Post-quantum hybrid first; both names of curve25519, of which paramiko knows only the older.
KEX = ("mlkem768x25519-sha256", "curve25519-sha256", "curve25519-sha256@libssh.org")
KEX_ENGINES = {
    "mlkem768x25519-sha256": KexMLKEM768X25519,
    "curve25519-sha256": KexCurve25519,
    "curve25519-sha256@libssh.org": KexCurve25519,
}
CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
#: Agreed upon and not used: AES-GCM authenticates by itself, but paramiko insists on a common name.
MACS = ("hmac-sha2-256-etm@openssh.com", "hmac-sha2-512-etm@openssh.com")
#: What user keys may sign with. OpenSSH derives the names of certificate algorithms from these.
SIGNATURE_ALGORITHMS = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "rsa-sha2-512",
    "rsa-sha2-256",
)


@attrs.frozen
class HostIdentity:
    """The key an SSH server proves and the certificate that vouches for it."""

    key: Ed25519PrivateKey = attrs.field(repr=False)
    certificate: bytes
    """The certificate's blob (what is base64 in a ``-cert.pub`` line). Its principals must hold what users
    type.
    """

    @classmethod
    def from_line(cls, key: Ed25519PrivateKey, line: str | bytes) -> HostIdentity:
        """From the text ``ssh-ed25519-cert-v01@openssh.com AAAA... comment``; :exc:`SshError` when it is not
        that.
        """
        fields = (line.encode() if isinstance(line, str) else line).split()
        if len(fields) < 2 or fields[0].decode("ascii", "replace") != HOST_CERTIFICATE_TYPE:
            raise SshError(f"the host certificate is not a line that begins with {HOST_CERTIFICATE_TYPE}")
        try:
            return cls(key, base64.b64decode(fields[1], validate=True))
        except binascii.Error:
            raise SshError("the host certificate is not base64") from None


class HostCertKey(PKey):
    """A host key that presents its certificate: paramiko's key exchanges ask only for the three methods
    below.
    """

    def __init__(self, identity: HostIdentity) -> None:
        reader = WireReader(identity.certificate)
        if reader.text() != HOST_CERTIFICATE_TYPE:
            raise SshError("the host certificate is not for an Ed25519 key")
        reader.string()  # nonce
        if reader.string() != identity.key.public_key().public_bytes_raw():
            raise SshError("the host certificate was issued for another key")
        self._identity = identity
        self.public_blob = None

    def get_name(self) -> str:
        """The name of the certificate's type."""
        return HOST_CERTIFICATE_TYPE

    def asbytes(self) -> bytes:
        """The certificate."""
        return self._identity.certificate

    def sign_ssh_data(self, data: bytes, algorithm: str | None = None) -> Message:
        """A plain Ed25519 signature: certificates change what is presented, not how one signs."""
        return Message(string("ssh-ed25519") + string(self._identity.key.sign(data)))
