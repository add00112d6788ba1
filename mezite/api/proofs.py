# SPDX-License-Identifier: Apache-2.0
"""The proof in a request that it is the user who asks."""

from __future__ import annotations

from mezite.api.pb.mezite.v1 import factors_pb2 as pb
from mezite.services.factors.fresh_proof import Proof
from mezite.services.login.codes import ShownCode

__all__ = ["proof_in"]


def proof_in(message: pb.Proof) -> Proof:
    """Return what was shown; nothing where the message is empty."""
    code = ShownCode(totp=message.totp, recovery_code=message.recovery_code)
    return Proof(code=code, password=message.password)
