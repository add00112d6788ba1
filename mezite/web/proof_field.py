# SPDX-License-Identifier: Apache-2.0
"""The field `proof` of a request: that it is still the user who sits there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mezite.services.errors import InvalidRequestError
from mezite.services.factors.fresh_proof import Proof
from mezite.services.login.codes import ShownCode

__all__ = ["shown_proof"]


_TEXTS = ("totp", "recovery_code", "password")


def shown_proof(fields: Mapping[str, Any]) -> Proof:
    """Return what was shown: at most one of `totp`, `recovery_code`, `password` and `webauthn`.

    :raises InvalidRequestError: something else was, or more than one.
    """
    given = fields.get("proof", {})
    if len(given) > 1:
        raise InvalidRequestError("field 'proof' holds more than one proof: send one")
    for name, value in given.items():
        if name in _TEXTS and isinstance(value, str):
            if name == "password":
                return Proof(password=value)
            return Proof(code=ShownCode(**{name: value}))
        if name == "webauthn" and isinstance(value, dict):
            return _key_proof(value)
        raise InvalidRequestError(f"field 'proof' has one of {', '.join(_TEXTS)} or webauthn")
    return Proof()


def _key_proof(given: Mapping[str, Any]) -> Proof:
    match given:
        case {"challenge_id": str(challenge_id), "credential": dict(credential)} if len(given) == 2:
            return Proof(challenge_id=challenge_id, credential=credential)
        case _:
            raise InvalidRequestError(
                "the proof 'webauthn' has challenge_id and credential, from proof/begin"
            )
