# SPDX-License-Identifier: Apache-2.0
"""Claim: of all bytes only the proof itself is one, and only for what it was made for; any text is a device's key in
one spelling, or refused.

Allowed exceptions: InvalidKeyError, from ``device_key``.
"""

import contextlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mezite.core.certificates.keys import InvalidKeyError
from mezite.core.certificates.ssh_public_key import authorized_key_line, public_key_blob
from mezite.core.device_proof import DevicePurpose, device_key, proof_is_valid, sign_proof

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PARTS = ("cluster", "alice", "challenge", "keys")
PROOF = sign_proof(KEY, DevicePurpose.LOGIN, *PARTS)


def check(data: bytes) -> None:
    """A position and bytes to put over the proof; the same bytes as a proof, as a key's line, and as a part."""
    position, patch = int.from_bytes(data[:1], "big"), data[1:]
    for proof in (PROOF[:position] + patch + PROOF[position + len(patch) :], patch):
        assert proof_is_valid(KEY.public_key(), proof, DevicePurpose.LOGIN, *PARTS) == (proof == PROOF)
    text = patch.decode("utf-8", "replace")
    for number, part in enumerate(PARTS):
        parts = [text if at == number else each for at, each in enumerate(PARTS)]
        assert proof_is_valid(KEY.public_key(), PROOF, DevicePurpose.LOGIN, *parts) == (text == part)
    assert not proof_is_valid(KEY.public_key(), PROOF, DevicePurpose.ENROLL, *PARTS)
    assert not proof_is_valid(KEY.public_key(), PROOF, DevicePurpose.LOGIN, *PARTS, text)
    with contextlib.suppress(InvalidKeyError):
        line = authorized_key_line(public_key_blob(device_key(text)))
        assert text.split()[:2] == line.split()[:2]
