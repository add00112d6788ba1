# SPDX-License-Identifier: Apache-2.0
"""Whether a client holds the key of the certificate it shows (RFC 4252 section 7).

Only certificates are taken. Everything unknown is ``False``, never an exception: a strange key in a user's
agent is one failed attempt, not the end of the connection (paramiko disconnects there).
"""

from __future__ import annotations

import base64

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import SSHCertificate, load_ssh_public_identity

from mezite.ssh.errors import PeerProtocolError
from mezite.ssh.wire import WireReader

__all__ = ["CERTIFICATE_ALGORITHMS", "verify_possession"]

_SUFFIX = "-cert-v01@openssh.com"
_RSA_HASHES: dict[str, hashes.HashAlgorithm] = {
    "rsa-sha2-512": hashes.SHA512(),
    "rsa-sha2-256": hashes.SHA256(),
}
_CURVE_HASHES: dict[str, hashes.HashAlgorithm] = {
    "ecdsa-sha2-nistp256": hashes.SHA256(),
    "ecdsa-sha2-nistp384": hashes.SHA384(),
    "ecdsa-sha2-nistp521": hashes.SHA512(),
}
_CURVE_NAMES = {
    "ecdsa-sha2-nistp256": "secp256r1",
    "ecdsa-sha2-nistp384": "secp384r1",
    "ecdsa-sha2-nistp521": "secp521r1",
}
#: RSA keys below are weak; above, one verification takes longer than it should (threat A9).
_RSA_BITS = range(2048, 8193)
#: The type name inside a certificate's blob, by the algorithm named in the request.
CERTIFICATE_ALGORITHMS = {
    "ssh-ed25519" + _SUFFIX: "ssh-ed25519" + _SUFFIX,
    **{name + _SUFFIX: name + _SUFFIX for name in _CURVE_HASHES},
    **{name + _SUFFIX: "ssh-rsa" + _SUFFIX for name in _RSA_HASHES},
}


def verify_possession(algorithm: str, certificate: bytes, signature: bytes, signed: bytes) -> bool:
    """Whether ``signature`` over ``signed`` was made with the key of ``certificate``.

    ``algorithm`` is the name in the request; the certificate must be of its type and the signature of its
    name without the suffix. Says nothing about the certificate itself: that is the policy's part.
    """
    blob_type = CERTIFICATE_ALGORITHMS.get(algorithm)
    if blob_type is None:
        return False
    try:
        if WireReader(certificate).text() != blob_type:
            return False
        reader = WireReader(signature)
        name = reader.text()
        body = reader.string()
        reader.finish()
        if name != algorithm.removesuffix(_SUFFIX):
            return False
        identity = load_ssh_public_identity(blob_type.encode() + b" " + base64.b64encode(certificate))
        if not isinstance(identity, SSHCertificate):
            return False
        return _verify(name, identity.public_key(), body, signed)
    except (PeerProtocolError, ValueError, UnsupportedAlgorithm, InvalidSignature):
        return False


def _verify(name: str, key: object, signature: bytes, signed: bytes) -> bool:
    if isinstance(key, ed25519.Ed25519PublicKey):
        key.verify(signature, signed)
        return True
    if isinstance(key, ec.EllipticCurvePublicKey) and key.curve.name == _CURVE_NAMES.get(name):
        reader = WireReader(signature)
        pair = encode_dss_signature(reader.mpint(), reader.mpint())
        reader.finish()
        key.verify(pair, signed, ec.ECDSA(_CURVE_HASHES[name]))
        return True
    if isinstance(key, rsa.RSAPublicKey) and name in _RSA_HASHES and key.key_size in _RSA_BITS:
        key.verify(signature, signed, padding.PKCS1v15(), _RSA_HASHES[name])
        return True
    return False
