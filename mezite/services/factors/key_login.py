# SPDX-License-Identifier: Apache-2.0
"""Logging in with a password and a security key: two steps, tied together by one challenge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from mezite.services.errors import InvalidRequestError, MfaRequiredError
from mezite.services.factors.security_keys import AskedFor, KeyChallenge, SecurityKeys
from mezite.services.login.codes import FactorCodes
from mezite.services.login.password_login import LoggedIn, LoginRefusedError, LoginService
from mezite.storage import users
from mezite.storage.database import Database
from mezite.storage.factors import FactorKind
from mezite.storage.mfa_challenges import ChallengeAction
from mezite.storage.web_sessions import WebSessionKind

__all__ = ["KeyLogin"]

_BOUND_TO = "login"
_ASKED = AskedFor(action=ChallengeAction.LOGIN, bound_to=_BOUND_TO, user_name=None)


@attrs.frozen(kw_only=True)
class KeyLogin:
    """The challenge stands for the password that was right: whoever answers it need not send that again."""

    database: Database
    login: LoginService
    codes: FactorCodes
    keys: SecurityKeys

    async def begin(self, name: str, password: str, *, client_address: str) -> KeyChallenge:
        """Check the password and ask for a key.

        :raises LoginRefusedError: wrong password or locked out. :raises UnavailableError: it was not looked at.
        :raises MfaRequiredError: the user has factors, and no key among them.
        :raises InvalidRequestError: the user has no second factor, so the password is enough.
        """
        user = await self.login.check_password(name, password, client_address=client_address)
        kinds = await self.codes.kinds(user.name)
        if not kinds:
            raise InvalidRequestError("there is no second factor on this account: log in without one")
        if FactorKind.WEBAUTHN not in kinds:
            raise MfaRequiredError([kind.value for kind in kinds], event_id="")
        return await self.keys.begin_assertion(user.name, ChallengeAction.LOGIN, bound_to=_BOUND_TO)

    async def finish(
        self,
        challenge_id: str,
        credential: Mapping[str, Any],
        *,
        client_address: str,
        kind: WebSessionKind = WebSessionKind.API,
    ) -> LoggedIn:
        """Start a session for whoever answered the challenge.

        :raises LoginRefusedError: the challenge is over, or the answer is not good; audited and counted like a wrong
            password.
        """
        challenge = await self.keys.find(challenge_id, _ASKED)
        name = "" if challenge is None else challenge.user_name
        user = await self.database.read(users.get, name=name)
        factor = await self.login.check_factor(
            name,
            lambda: self.keys.check_assertion(challenge_id, credential, _ASKED),
            client_address=client_address,
        )
        if user is None:
            raise LoginRefusedError("the user was deleted meanwhile", event_id="")
        return await self.login.start(user, factor, client_address=client_address, kind=kind)
