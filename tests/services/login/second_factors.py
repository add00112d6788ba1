# SPDX-License-Identifier: Apache-2.0
"""People with second factors: enrolled the way a user enrols them."""

import base64

import attrs
import pytest

from mezite.core.totp import STEP_SECONDS, totp_code
from mezite.services.factors.fresh_proof import Proof
from mezite.services.identity.identities import UserIdentity
from mezite.services.login.codes import ShownCode
from mezite.services.login.password_login import LoginRefusedError
from mezite.testing.software_key import SoftwareKey
from tests.services.world import CLIENT, PASSWORD, WEB_URL, World

WITH_PASSWORD = Proof(password=PASSWORD)


@attrs.define
class Telephone:
    """An authenticator application."""

    world: World
    secret: bytes
    factor_id: str = ""
    recovery_codes: tuple[str, ...] = ()

    def code(self, steps: int = 0) -> str:
        """The code of now, or of so many steps later."""
        return totp_code(self.secret, self.world.clock.now // 1000 // STEP_SECONDS + steps)

    def fresh_code(self) -> str:
        """A code that was not used yet: half a minute goes by."""
        self.world.clock.now += STEP_SECONDS * 1000
        return self.code()


async def add_totp(world: World, identity: UserIdentity, proof: Proof = WITH_PASSWORD) -> Telephone:
    own = world.factors.own
    begun = await own.begin_totp(identity, proof, client_address=CLIENT)
    phone = Telephone(world, base64.b32decode(begun.secret.reveal()))
    enrolled = await own.finish_totp(
        identity, begun.challenge_id.reveal(), phone.code(), "", client_address=CLIENT
    )
    phone.factor_id = enrolled.factor.id
    phone.recovery_codes = tuple(code.reveal() for code in enrolled.recovery_codes)
    return phone


async def add_key(
    world: World, identity: UserIdentity, proof: Proof = WITH_PASSWORD, **properties
) -> SoftwareKey:
    key = SoftwareKey(origin=WEB_URL, **properties)
    own = world.factors.own
    asked = await own.begin_key(identity, proof, client_address=CLIENT)
    await own.finish_key(identity, asked.id.reveal(), key.create(asked.options), "", client_address=CLIENT)
    return key


async def log_in(world: World, name: str = "alice", password: str = PASSWORD, **codes: str):
    return await world.login.with_password(name, password, client_address=CLIENT, shown=ShownCode(**codes))


async def refusal(world: World, name: str = "alice", password: str = PASSWORD, **codes: str):
    with pytest.raises(LoginRefusedError) as refused:
        await log_in(world, name, password, **codes)
    return refused.value
