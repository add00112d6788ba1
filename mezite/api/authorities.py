# SPDX-License-Identifier: Apache-2.0
"""`mezite.v1.AuthorityService`: the cluster's signing keys and their rotations."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from mezite.api.pb.mezite.v1 import authorities_pb2 as pb
from mezite.api.rpc import CallContext, RpcMethod
from mezite.api.service_methods import unary, user_of
from mezite.core.rotation import KeySet, overlap_ms, trusted_until
from mezite.core.trust_readiness import Lagging
from mezite.services.authorities.certificate_authority import CertificateAuthorities
from mezite.services.authorities.key_export import export_keys
from mezite.services.authorities.keys import POLICIES, Purpose
from mezite.services.authorities.rotation import AuthorityRotation, PurposeStatus
from mezite.services.errors import ConflictError, InvalidRequestError

__all__ = ["AuthoritiesApi"]

_SERVICE = "/mezite.v1.AuthorityService/"


@attrs.frozen
class AuthoritiesApi:
    """The RPCs of one service."""

    rotation: AuthorityRotation
    authorities: CertificateAuthorities

    def methods(self) -> list[RpcMethod]:
        """Return every RPC with its verb and resource."""
        get = unary(_SERVICE + "GetRotation", pb.GetRotationRequest, pb.GetRotationResponse)
        rotate = unary(_SERVICE + "Rotate", pb.RotateRequest, pb.RotateResponse)
        export = unary(_SERVICE + "ExportKeys", pb.ExportKeysRequest, pb.ExportKeysResponse)
        return [
            get(self.get, "authorities.get", "authority"),
            rotate(self.rotate, "authorities.rotate", "authority"),
            export(self.export, "authorities.export", "authority"),
        ]

    async def get(self, request: pb.GetRotationRequest, _context: CallContext) -> pb.GetRotationResponse:
        """Where rotations are and who holds them up."""
        found = await self.rotation.status(_purposes(request.types))
        return pb.GetRotationResponse(
            rotations=[_message(status) for status in found],
            host_ca_pin=f"sha256:{self.authorities.host_pin}",
            host_ca_pins=[f"sha256:{pin}" for pin in self.authorities.host_pins],
        )

    async def rotate(self, request: pb.RotateRequest, context: CallContext) -> pb.RotateResponse:
        """Begin, go on, or go back; what is refused for one type does not keep the others from it."""
        steps = {
            pb.RotateRequest.BEGIN: self.rotation.begin,
            pb.RotateRequest.FORCE: self.rotation.force,
            pb.RotateRequest.ROLL_BACK: self.rotation.roll_back,
        }
        take = steps.get(request.action)
        if take is None:
            raise InvalidRequestError(f"there is no action {request.action}")
        if request.action == pb.RotateRequest.FORCE and not request.types:
            raise InvalidRequestError("to force a step, name the types that it is for")
        by, client = user_of(context).name, context.peer.client_address
        taken = []
        for purpose in _purposes(request.types):
            try:
                step = (await take(purpose, by=by, client_address=client)).value
                taken.append(pb.RotateResponse.Taken(type=purpose.value, step=step))
            except ConflictError as refused:
                taken.append(pb.RotateResponse.Taken(type=purpose.value, error=str(refused)))
        return pb.RotateResponse(taken=taken)

    async def export(self, request: pb.ExportKeysRequest, _context: CallContext) -> pb.ExportKeysResponse:
        """Public keys, for those who check."""
        (purpose,) = _purposes([request.type])
        return pb.ExportKeysResponse(text=export_keys(self.authorities, purpose))


def _purposes(names: Iterable[str]) -> list[Purpose]:
    known = {purpose.value: purpose for purpose in Purpose}
    wanted = list(dict.fromkeys(names)) or list(known)
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise InvalidRequestError(f"there is no key of type {unknown[0]}: there are {', '.join(known)}")
    return [known[name] for name in wanted]


def _message(status: PurposeStatus) -> pb.PurposeRotation:
    policy, readiness = POLICIES[status.purpose], status.readiness
    return pb.PurposeRotation(
        type=status.purpose.value,
        step=_step(status.keys),
        keys=[
            pb.SigningKey(
                key_id=key.key_id,
                state=key.state.value,
                created_at_ms=key.created_at,
                retired_at_ms=key.retired_at or 0,
                trusted_until_ms=trusted_until(key, policy) or 0,
                requested=key.requested,
            )
            for key in (
                status.keys.active,
                *([status.keys.upcoming] if status.keys.upcoming else ()),
                *status.keys.retired,
            )
        ],
        ready=readiness.is_ready,
        agents=readiness.agents,
        agents_waiting=[_waiting(one) for one in readiness.agents_waiting],
        hubs=readiness.hubs,
        hubs_waiting=[_waiting(one) for one in readiness.hubs_waiting],
        not_before_ms=readiness.not_before,
        ready_at_latest_ms=readiness.latest,
        report=readiness.sentences(),
        overlap_ms=overlap_ms(policy) or 0,
    )


def _step(keys: KeySet) -> str:
    if keys.upcoming is not None and keys.upcoming.requested:
        return "published"
    return "overlap" if keys.retired else "idle"


def _waiting(one: Lagging) -> pb.NotReady:
    return pb.NotReady(name=one.name, online=one.online, last_seen_ms=one.last_seen, until_ms=one.until)
