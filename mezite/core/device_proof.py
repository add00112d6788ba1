# SPDX-License-Identifier: Apache-2.0
"""What a device signs to show that it holds its key.

The signature is over the purpose, the cluster, the user, the hub's challenge and, at a login, the keys that are to be
certified: a proof is worth nothing to another cluster, for another user, a second time, or for other keys. Each part is
preceded by its length, so that no two lists of parts are the same bytes.
"""

import enum
import hashlib

from mezite.core.certificates.keys import InvalidKeyError, PrivateKey, PublicKey
from mezite.core.certificates.ssh_public_key import (
    parse_authorized_key_line,
    parse_public_key_blob,
    sign,
    signature_is_valid,
)
from mezite.core.certificates.ssh_wire import MalformedWireError, encode_string

__all__ = ["DevicePurpose", "certified_keys", "device_key", "proof_is_valid", "sign_proof"]

CONTEXT = b"mezite-device-proof-v1"


class DevicePurpose(enum.Enum):
    """What the proof is for."""

    ENROLL = "enroll"
    LOGIN = "login"


def sign_proof(key: PrivateKey, purpose: DevicePurpose, *parts: str) -> bytes:
    """The proof: an SSH signature blob over the purpose and ``parts``."""
    return sign(key, signed_bytes(purpose, parts))


def proof_is_valid(key: PublicKey, proof: bytes, purpose: DevicePurpose, *parts: str) -> bool:
    """Whether ``proof`` is what the holder of ``key`` signs for the purpose and ``parts``."""
    try:
        return signature_is_valid(key, proof, signed_bytes(purpose, parts))
    except MalformedWireError:
        return False


def certified_keys(ssh_public_key: str, tls_public_key_pem: str) -> str:
    """What stands for the keys that are to be certified, among the parts of a login's proof."""
    text = f"{ssh_public_key.strip()}\0{tls_public_key_pem.strip()}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def device_key(line: str) -> PublicKey:
    """The key of a ``TYPE BASE64`` line. Raises InvalidKeyError: it is none, or of a kind that is not supported."""
    try:
        return parse_public_key_blob(parse_authorized_key_line(line)[1])
    except MalformedWireError as error:
        raise InvalidKeyError(f"the device's public key is damaged: {error}") from None


def signed_bytes(purpose: DevicePurpose, parts: tuple[str, ...]) -> bytes:
    texts = (purpose.value, *parts)
    return CONTEXT + b"".join(encode_string(text.encode()) for text in texts)
