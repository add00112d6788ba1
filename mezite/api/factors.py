# SPDX-License-Identifier: Apache-2.0
"""`mezite.v1.FactorService`."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs

from mezite.api.pb.mezite.v1 import factors_pb2 as pb
from mezite.api.proofs import proof_in
from mezite.api.rpc import CallContext, RpcMethod
from mezite.api.service_methods import unary, user_of
from mezite.services.errors import InvalidRequestError
from mezite.services.proofs.assembly import FactorServices
from mezite.storage.factors import FactorKind, FactorRow

__all__ = ["FactorsApi"]

_SERVICE = "/mezite.v1.FactorService/"


@attrs.frozen(kw_only=True)
class FactorsApi:
    """The RPCs of one service."""

    factors: FactorServices
    web_url: Callable[[], str]

    def methods(self) -> list[RpcMethod]:
        """Return every RPC with its verb and resource."""
        listed = unary(_SERVICE + "ListFactors", pb.ListFactorsRequest, pb.ListFactorsResponse)
        begin = unary(_SERVICE + "BeginTotp", pb.BeginTotpRequest, pb.BeginTotpResponse)
        finish = unary(_SERVICE + "FinishTotp", pb.FinishTotpRequest, pb.FinishTotpResponse)
        remove = unary(_SERVICE + "RemoveFactor", pb.RemoveFactorRequest, pb.RemoveFactorResponse)
        codes = unary(
            _SERVICE + "CreateRecoveryCodes", pb.CreateRecoveryCodesRequest, pb.CreateRecoveryCodesResponse
        )
        of_user = unary(_SERVICE + "ListUserFactors", pb.ListUserFactorsRequest, pb.ListFactorsResponse)
        reset = unary(_SERVICE + "ResetUserFactors", pb.ResetUserFactorsRequest, pb.ResetUserFactorsResponse)
        return [
            listed(self.listed, "self.factors.list", "account"),
            begin(self.begin_totp, "self.factors.add", "account"),
            finish(self.finish_totp, "self.factors.add", "account"),
            remove(self.remove, "self.factors.remove", "account"),
            codes(self.recovery_codes, "self.factors.add", "account"),
            of_user(self.of_user, "users.factors.list", "user"),
            reset(self.reset, "users.factors.reset", "user"),
        ]

    async def listed(self, _request: pb.ListFactorsRequest, context: CallContext) -> pb.ListFactorsResponse:
        """The caller's own factors."""
        own, identity = self.factors.own, user_of(context)
        return self._listing(await own.listed(identity), await own.recovery_codes_left(identity))

    async def begin_totp(self, request: pb.BeginTotpRequest, context: CallContext) -> pb.BeginTotpResponse:
        """A secret that becomes a factor."""
        begun = await self.factors.own.begin_totp(
            user_of(context), proof_in(request.proof), client_address=context.peer.client_address
        )
        return pb.BeginTotpResponse(
            challenge_id=begun.challenge_id.reveal(), secret=begun.secret.reveal(), uri=begun.uri.reveal()
        )

    async def finish_totp(self, request: pb.FinishTotpRequest, context: CallContext) -> pb.FinishTotpResponse:
        """A code of that secret."""
        enrolled = await self.factors.own.finish_totp(
            user_of(context),
            request.challenge_id,
            request.code,
            request.name,
            client_address=context.peer.client_address,
        )
        return pb.FinishTotpResponse(
            factor=_message(enrolled.factor),
            recovery_codes=[code.reveal() for code in enrolled.recovery_codes],
        )

    async def remove(self, request: pb.RemoveFactorRequest, context: CallContext) -> pb.RemoveFactorResponse:
        """One of the caller's own factors."""
        await self.factors.own.remove(
            user_of(context),
            request.id,
            proof_in(request.proof),
            client_address=context.peer.client_address,
        )
        return pb.RemoveFactorResponse()

    async def recovery_codes(
        self, request: pb.CreateRecoveryCodesRequest, context: CallContext
    ) -> pb.CreateRecoveryCodesResponse:
        """Ten new ones."""
        codes = await self.factors.own.new_recovery_codes(
            user_of(context), proof_in(request.proof), client_address=context.peer.client_address
        )
        return pb.CreateRecoveryCodesResponse(codes=[code.reveal() for code in codes])

    async def of_user(
        self, request: pb.ListUserFactorsRequest, _context: CallContext
    ) -> pb.ListFactorsResponse:
        """The factors of any user."""
        administration = self.factors.administration
        rows = await administration.listed(request.user_name)
        counts = (await administration.counts()).get(request.user_name)
        return self._listing(rows, 0 if counts is None else counts.recovery_codes)

    async def reset(
        self, request: pb.ResetUserFactorsRequest, context: CallContext
    ) -> pb.ResetUserFactorsResponse:
        """All factors of one kind of any user."""
        try:
            kind = FactorKind(request.kind)
        except ValueError:
            raise InvalidRequestError(
                f"there is no factor {request.kind[:32]!r}: there are totp and webauthn"
            ) from None
        removed = await self.factors.administration.reset(
            request.user_name, kind, by=user_of(context).name, client_address=context.peer.client_address
        )
        return pb.ResetUserFactorsResponse(removed=removed)

    def _listing(self, rows: Iterable[FactorRow], codes_left: int) -> pb.ListFactorsResponse:
        return pb.ListFactorsResponse(
            factors=[_message(row) for row in rows], recovery_codes_left=codes_left, web_url=self.web_url()
        )


def _message(row: FactorRow) -> pb.Factor:
    return pb.Factor(
        id=row.id,
        kind=row.kind.value,
        name=row.name,
        created_at_ms=row.created_at,
        last_used_at_ms=row.last_used_at or 0,
    )
