# SPDX-License-Identifier: Apache-2.0
"""`mezite.v1.DeviceService`."""

from __future__ import annotations

import base64

from mezite.api.pb.mezite.v1 import devices_pb2 as pb
from mezite.api.rpc import CallContext, RpcMethod
from mezite.api.service_methods import unary, user_of
from mezite.services.users.devices import DeviceProof, Devices
from mezite.storage.devices import DeviceRow

__all__ = ["DevicesApi"]

_SERVICE = "/mezite.v1.DeviceService/"


class DevicesApi:
    """The RPCs of one service."""

    def __init__(self, devices: Devices) -> None:
        self._devices = devices

    def methods(self) -> list[RpcMethod]:
        """Return every RPC with its verb and resource."""
        begin = unary(_SERVICE + "BeginDeviceProof", pb.BeginDeviceProofRequest, pb.BeginDeviceProofResponse)
        enroll = unary(_SERVICE + "EnrollDevice", pb.EnrollDeviceRequest, pb.Device)
        listing = unary(_SERVICE + "ListDevices", pb.ListDevicesRequest, pb.ListDevicesResponse)
        approve = unary(_SERVICE + "ApproveDevice", pb.ApproveDeviceRequest, pb.Device)
        remove = unary(_SERVICE + "RemoveDevice", pb.RemoveDeviceRequest, pb.RemoveDeviceResponse)
        return [
            begin(self.begin, "self.devices.prove", "device"),
            enroll(self.enroll, "self.devices.enroll", "device"),
            listing(self.list_devices, "self.devices.list", "device"),
            approve(self.approve, "devices.approve", "device"),
            remove(self.remove, "self.devices.remove", "device"),
        ]

    async def begin(
        self, _request: pb.BeginDeviceProofRequest, context: CallContext
    ) -> pb.BeginDeviceProofResponse:
        """A challenge."""
        return pb.BeginDeviceProofResponse(challenge=await self._devices.begin(user_of(context)))

    async def enroll(self, request: pb.EnrollDeviceRequest, context: CallContext) -> pb.Device:
        """A device that waits for approval."""
        proof = DeviceProof(
            device_id="",
            challenge=request.challenge,
            signature=base64.b64encode(request.signature).decode(),
        )
        row = await self._devices.enroll(
            user_of(context),
            request.name,
            request.public_key,
            proof,
            client_address=context.peer.client_address,
        )
        return _message(row)

    async def list_devices(
        self, _request: pb.ListDevicesRequest, context: CallContext
    ) -> pb.ListDevicesResponse:
        """One's own, or all."""
        rows = await self._devices.list_devices(user_of(context))
        return pb.ListDevicesResponse(devices=[_message(row) for row in rows])

    async def approve(self, request: pb.ApproveDeviceRequest, context: CallContext) -> pb.Device:
        """Trust a device."""
        address = context.peer.client_address
        return _message(await self._devices.approve(user_of(context), request.id, client_address=address))

    async def remove(self, request: pb.RemoveDeviceRequest, context: CallContext) -> pb.RemoveDeviceResponse:
        """Forget a device."""
        await self._devices.remove(user_of(context), request.id, client_address=context.peer.client_address)
        return pb.RemoveDeviceResponse()


def _message(row: DeviceRow) -> pb.Device:
    return pb.Device(
        id=row.device_id,
        user_name=row.user_name,
        name=row.name,
        public_key=row.public_key,
        created_at_ms=row.created_at,
        approved_at_ms=row.approved_at or 0,
        approved_by=row.approved_by or "",
        last_used_at_ms=row.last_used_at or 0,
    )
