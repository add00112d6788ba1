# SPDX-License-Identifier: Apache-2.0
"""WebAuthn as this hub asks for it and takes it: what is signed, by which key, for whom, where (threat E7).

The library `webauthn` checks signatures and structures. What it leaves to its caller is here: which formats and
algorithms are wanted at all, that the answer is not from a frame in another site's page, that the user named in the
answer is the one who was asked, and that whatever its parsers raise is one refusal. Counters are the storage's.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

import attrs
import webauthn
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from webauthn.helpers import (
    base64url_to_bytes,
    bytes_to_base64url,
    decode_credential_public_key,
    decoded_public_key_to_cryptography,
    options_to_json_dict,
)
from webauthn.helpers.cose import COSEAlgorithmIdentifier
from webauthn.helpers.structs import (
    AttestationFormat,
    AuthenticatorSelectionCriteria,
    CredentialDeviceType,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

__all__ = [
    "EnrolledKey",
    "NoRelyingPartyError",
    "RefusedCredentialError",
    "RelyingParty",
    "VerifiedAssertion",
    "relying_party",
    "user_handle",
]

ALGORITHMS = [
    COSEAlgorithmIdentifier.ECDSA_SHA_256,
    COSEAlgorithmIdentifier.EDDSA,
    COSEAlgorithmIdentifier.RSASSA_PKCS1_v1_5_SHA_256,
]
"""What section 5.4 of the specification wants offered, and Windows Hello's; none with SHA-1."""

FORMATS = frozenset({AttestationFormat.NONE, AttestationFormat.PACKED})
"""No attestation is asked for: browsers then leave "none", or "packed" signed with the new key itself."""

MAX_MEMBER = 8 * 1024
"""Characters of one member of an answer. Honest ones have a tenth; CBOR can ask for work, such as compiling a regular
expression, that grows with its length."""

MIN_RSA_BITS = 2048
"""NIST SP 800-131A."""

MAX_CREDENTIAL_ID = 1023
"""Bytes; WebAuthn section 4 allows no longer ones."""


class RefusedCredentialError(Exception):
    """What a browser sent is not good; the text is for the audit log."""


class NoRelyingPartyError(Exception):
    """Browsers know no security keys at the address under which this hub is reached."""


@attrs.frozen(kw_only=True)
class EnrolledKey:
    """A key that has proven itself."""

    credential_id: str
    """Base64url without padding."""
    public_key: bytes
    """COSE."""
    sign_count: int
    verifies_user: bool


@attrs.frozen(kw_only=True)
class VerifiedAssertion:
    """What a key has signed."""

    counter: int
    is_device_bound: bool
    """The key says that it cannot be copied to another device (its flag "backup eligible" is not set)."""


@attrs.frozen(kw_only=True)
class RelyingParty:
    """The hub as browsers see it."""

    id: str
    """The host name: keys enrolled under one are no good under another."""
    origin: str
    """`https://host[:port]`, exactly."""
    name: str
    """The cluster, for people."""
    require_user_verification: bool = False
    """Whether a key must check who holds it, by a PIN or a finger, besides that somebody touches it."""

    def creation_options(
        self, user_name: str, handle: bytes, challenge: bytes, known: Iterable[str]
    ) -> dict[str, Any]:
        """Return what `navigator.credentials.create()` takes, as JSON; keys in `known` are not enrolled again."""
        options = webauthn.generate_registration_options(
            rp_id=self.id,
            rp_name=self.name,
            user_name=user_name,
            user_id=handle,
            challenge=challenge,
            authenticator_selection=AuthenticatorSelectionCriteria(
                resident_key=ResidentKeyRequirement.DISCOURAGED,
                user_verification=self._verification(wanted=False),
            ),
            exclude_credentials=_descriptors(known),
            supported_pub_key_algs=ALGORITHMS,
        )
        return options_to_json_dict(options)

    def request_options(self, challenge: bytes, keys: Iterable[str], *, verify_user: bool) -> dict[str, Any]:
        """Return what `navigator.credentials.get()` takes, as JSON; one of `keys` must answer."""
        options = webauthn.generate_authentication_options(
            rp_id=self.id,
            challenge=challenge,
            allow_credentials=_descriptors(keys),
            user_verification=self._verification(wanted=verify_user),
        )
        return options_to_json_dict(options)

    def verified_creation(self, credential: Mapping[str, Any], *, challenge: bytes) -> EnrolledKey:
        """Return the key that has signed `challenge`. :raises RefusedCredentialError: anything is not as asked for."""
        _refuse_at_sight(credential)
        try:
            found = webauthn.verify_registration_response(
                credential=dict(credential),
                expected_challenge=challenge,
                expected_rp_id=self.id,
                expected_origin=self.origin,
                require_user_verification=self.require_user_verification,
                supported_pub_key_algs=ALGORITHMS,
            )
            _check_public_key(found.credential_public_key)
        except Exception as error:  # noqa: BLE001 - the library answers garbage with whatever its parsers raise
            raise RefusedCredentialError(_reason(error)) from None
        if found.fmt not in FORMATS:
            raise RefusedCredentialError(f"attestation format {found.fmt} was not asked for")
        if not 16 <= len(found.credential_id) <= MAX_CREDENTIAL_ID:
            raise RefusedCredentialError("the credential's id has an odd length")
        key = bytes_to_base64url(found.credential_id)
        if key != credential.get("id"):
            raise RefusedCredentialError("the credential's id is not the one that was signed")
        return EnrolledKey(
            credential_id=key,
            public_key=found.credential_public_key,
            sign_count=found.sign_count,
            verifies_user=found.user_verified,
        )

    def verified_assertion(
        self,
        credential: Mapping[str, Any],
        *,
        challenge: bytes,
        public_key: bytes,
        handle: bytes,
        verify_user: bool,
    ) -> VerifiedAssertion:
        """Return what the key that has signed `challenge` says of itself.

        `verify_user`: this key has checked its holder before, so it must do so again. The caller compares the counter.

        :raises RefusedCredentialError: anything is not as asked for.
        """
        _refuse_at_sight(credential)
        named = credential["response"].get("userHandle")
        if named is not None and named != bytes_to_base64url(handle):
            raise RefusedCredentialError("the key is another user's")
        try:
            found = webauthn.verify_authentication_response(
                credential=dict(credential),
                expected_challenge=challenge,
                expected_rp_id=self.id,
                expected_origin=self.origin,
                credential_public_key=public_key,
                credential_current_sign_count=0,
                require_user_verification=verify_user or self.require_user_verification,
            )
        except Exception as error:  # noqa: BLE001 - the library answers garbage with whatever its parsers raise
            raise RefusedCredentialError(_reason(error)) from None
        return VerifiedAssertion(
            counter=found.new_sign_count,
            is_device_bound=found.credential_device_type is CredentialDeviceType.SINGLE_DEVICE,
        )

    def _verification(self, *, wanted: bool) -> UserVerificationRequirement:
        if wanted or self.require_user_verification:
            return UserVerificationRequirement.REQUIRED
        return UserVerificationRequirement.PREFERRED


def relying_party(web_url: str, name: str, *, require_user_verification: bool = False) -> RelyingParty:
    """Return the relying party of the hub at `web_url`.

    :raises NoRelyingPartyError: it is reached by its IP address, to which no browser ties a key (loopback aside,
        where `localhost` is meant).
    """
    parts = urlsplit(web_url)
    host = parts.hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return RelyingParty(
            id=host, origin=web_url, name=name, require_user_verification=require_user_verification
        )
    if not address.is_loopback:
        raise NoRelyingPartyError(
            f"security keys need a host name, and this hub goes by {host}: set proxy.public_addr"
        )
    port = "" if parts.port is None else f":{parts.port}"
    return RelyingParty(
        id="localhost",
        origin=f"{parts.scheme}://localhost{port}",
        name=name,
        require_user_verification=require_user_verification,
    )


def user_handle(cluster: str, user_name: str, created_at: int) -> bytes:
    """Return what a key knows the user by: no name (section 14.6.1), and another one for a name given away again."""
    return hashlib.sha256(f"mezite user\0{cluster}\0{user_name}\0{created_at}".encode()).digest()


def _check_public_key(cose: bytes) -> None:
    """Without an attestation nothing has been checked with the new key: it may be none. :raises Exception: it is."""
    match decoded_public_key_to_cryptography(decode_credential_public_key(cose)):
        case ec.EllipticCurvePublicKey(curve=ec.SECP256R1()) | ed25519.Ed25519PublicKey():
            return
        case rsa.RSAPublicKey(key_size=bits) if bits >= MIN_RSA_BITS:
            return
    raise RefusedCredentialError("its public key is of no kind that was offered")


def _descriptors(keys: Iterable[str]) -> list[PublicKeyCredentialDescriptor]:
    return [PublicKeyCredentialDescriptor(id=base64url_to_bytes(key)) for key in keys]


def _refuse_at_sight(credential: Mapping[str, Any]) -> None:
    """Refuse what the library lets pass: a frame within another site's page (section 7.2), and answers without end."""
    response = credential.get("response")
    text = response.get("clientDataJSON") if isinstance(response, dict) else None
    try:
        client = json.loads(base64url_to_bytes(text)) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        client = None
    if not isinstance(response, dict) or not isinstance(client, dict):
        raise RefusedCredentialError("there is no readable clientDataJSON")
    if any(isinstance(member, str) and len(member) > MAX_MEMBER for member in response.values()):
        raise RefusedCredentialError(f"a member of the answer is longer than {MAX_MEMBER} characters")
    if client.get("crossOrigin", False) is not False or "topOrigin" in client:
        raise RefusedCredentialError("it was signed in a frame of another site")


def _reason(error: Exception) -> str:
    """In the library's words, which quote what was sent: bounded, and no characters that a log cannot keep (H1)."""
    return f"{type(error).__name__}: {error}".encode("unicode_escape").decode("ascii")[:200]
