# SPDX-License-Identifier: Apache-2.0
"""A security key in software, with the browser around it; and every way in which such a pair may misbehave.

It takes the options that a hub gives and returns what a browser's `credential.toJSON()` would. By itself it does what
the specification says; keyword arguments change single things about one answer.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

import attrs
import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

__all__ = ["SoftwareKey", "from_base64url", "to_base64url"]

ES256 = -7
_PRESENT, _VERIFIED, _HAS_KEY = 0x01, 0x04, 0x40
_BACKED_UP = 0x08 | 0x10
_AAGUID = bytes(16)
_NOTHING: Final[Mapping[str, Any]] = {}


def to_base64url(data: bytes) -> str:
    """Without padding, as WebAuthn writes it."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def from_base64url(text: str) -> bytes:
    """The bytes behind it."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


@attrs.define(eq=False, kw_only=True)
class SoftwareKey:
    """One authenticator with one credential, in a browser that shows pages of one origin."""

    origin: str
    verifies_user: bool = True
    """It has a PIN or a finger reader."""
    counts: bool = True
    """Some keys do not: their counter is always 0."""
    synced: bool = False
    """It is a passkey that is kept on several devices."""
    counter: int = 0
    credential_id: bytes = bytes(range(32))
    private: ec.EllipticCurvePrivateKey = attrs.field(
        factory=lambda: ec.generate_private_key(ec.SECP256R1()), repr=False
    )

    def create(
        self,
        options: Mapping[str, Any],
        *,
        client: Mapping[str, Any] = _NOTHING,
        rp_id: str | None = None,
        present: bool = True,
        verified: bool | None = None,
        attestation: str = "none",
        key: Mapping[int, Any] | None = None,
        changes: Mapping[str, Any] = _NOTHING,
    ) -> dict[str, Any]:
        """Answer `navigator.credentials.create()`.

        `client` overrides members of clientDataJSON, None removes one; `attestation` is "none", "packed" or what else
        to call it; `key` is the COSE key to send; `changes` overrides members of the credential's JSON.
        """
        client_data = self._client_data("webauthn.create", options, client)
        cose = cbor2.dumps(dict(self._cose() if key is None else key))
        flags = self._flags(present, verified) | _HAS_KEY
        attested = _AAGUID + len(self.credential_id).to_bytes(2, "big") + self.credential_id + cose
        auth_data = self._head(rp_id or options["rp"]["id"], flags, self.counter) + attested
        statement: dict[str, Any] = {}
        if attestation == "packed":
            statement = {"alg": ES256, "sig": self.sign(auth_data + hashlib.sha256(client_data).digest())}
        attested_object = {"fmt": attestation, "attStmt": statement, "authData": auth_data}
        return self._credential(
            {
                "clientDataJSON": to_base64url(client_data),
                "attestationObject": to_base64url(cbor2.dumps(attested_object)),
            },
            changes,
        )

    def get(
        self,
        options: Mapping[str, Any],
        *,
        client: Mapping[str, Any] = _NOTHING,
        rp_id: str | None = None,
        present: bool = True,
        verified: bool | None = None,
        counter: int | None = None,
        response: Mapping[str, Any] = _NOTHING,
        changes: Mapping[str, Any] = _NOTHING,
    ) -> dict[str, Any]:
        """Answer `navigator.credentials.get()`; `response` overrides members of the JSON's `response`."""
        if counter is None:
            self.counter += int(self.counts)
            counter = self.counter
        client_data = self._client_data("webauthn.get", options, client)
        auth_data = self._head(rp_id or options["rpId"], self._flags(present, verified), counter)
        signature = self.sign(auth_data + hashlib.sha256(client_data).digest())
        answer = {
            "clientDataJSON": to_base64url(client_data),
            "authenticatorData": to_base64url(auth_data),
            "signature": to_base64url(signature),
        }
        return self._credential({**answer, **response}, changes)

    def sign(self, data: bytes) -> bytes:
        """Sign with the credential's key."""
        return self.private.sign(data, ec.ECDSA(hashes.SHA256()))

    def _cose(self) -> dict[int, Any]:
        """RFC 9052: an EC2 key on P-256, for ES256."""
        numbers = self.private.public_key().public_numbers()
        return {1: 2, 3: ES256, -1: 1, -2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}

    def _flags(self, present: bool, verified: bool | None) -> int:
        is_verified = self.verifies_user if verified is None else verified
        said = (_PRESENT if present else 0) | (_VERIFIED if is_verified else 0)
        return said | (_BACKED_UP if self.synced else 0)

    def _head(self, rp_id: str, flags: int, counter: int) -> bytes:
        return hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + counter.to_bytes(4, "big")

    def _client_data(self, kind: str, options: Mapping[str, Any], changes: Mapping[str, Any]) -> bytes:
        said = {"type": kind, "challenge": options["challenge"], "origin": self.origin, "crossOrigin": False}
        said |= changes
        return json.dumps({name: value for name, value in said.items() if value is not None}).encode()

    def _credential(self, response: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
        name = to_base64url(self.credential_id)
        return {"id": name, "rawId": name, "type": "public-key", "response": dict(response), **changes}
