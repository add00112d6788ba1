# SPDX-License-Identifier: Apache-2.0
"""A new password for oneself: with the old one and, of who has one, a second factor."""

from __future__ import annotations

import attrs

from mezite.services.errors import InvalidRequestError, UnauthenticatedError
from mezite.services.factors.fresh_proof import FreshProof, Proof
from mezite.services.identity.identities import UserIdentity
from mezite.services.login.password_login import LoginRefusedError, LoginService
from mezite.services.login.password_rules import WeakPasswordError, check_password_strength

__all__ = ["PasswordChange"]


@attrs.frozen(kw_only=True)
class PasswordChange:
    """One way for all doors (threat E8)."""

    login: LoginService
    proof: FreshProof

    async def change(
        self, identity: UserIdentity, *, old: str, new: str, proof: Proof, client_address: str
    ) -> None:
        """Replace the caller's password and end all other sessions of theirs.

        The factor comes first: who has stolen a session gets no chance to try passwords.

        :raises InvalidRequestError: the new one is too short or too long.
        :raises ProofRequiredError: the caller has a second factor and shows none, and has not for five minutes.
        :raises UnauthenticatedError: the factor or the old password is wrong; audited and counted.
        """
        try:
            check_password_strength(new)
        except WeakPasswordError as weak:
            raise InvalidRequestError(str(weak)) from None
        await self.proof.require_factor(identity, proof, client_address=client_address)
        try:
            await self.login.change_password(identity, old=old, new=new, client_address=client_address)
        except LoginRefusedError as refused:
            raise UnauthenticatedError(str(refused), event_id=refused.event_id) from None
