# SPDX-License-Identifier: Apache-2.0
"""The challenge that a device answers at a login."""

from __future__ import annotations

from typing import Any

import attrs

from mezite.services.errors import InvalidRequestError
from mezite.services.identity.identities import UserIdentity
from mezite.services.users.devices import DeviceProof, Devices
from mezite.web.json_body import read_fields
from mezite.web.route_table import RouteTable

__all__ = ["DEVICE_FIELDS", "DeviceRoutes", "shown_device"]

DEVICE_FIELDS = {"device_id": str, "device_challenge": str, "device_signature": str}
"""What a request for certificates may carry: all of them or none."""


@attrs.frozen(kw_only=True)
class DeviceRoutes:
    """`devices/challenge`."""

    devices: Devices

    def add_to(self, table: RouteTable) -> None:
        """Declare the route."""
        table.private("POST", "/v1/webapi/devices/challenge", self._begin, "self.devices.prove", "device")

    async def _begin(self, identity: UserIdentity) -> dict[str, Any]:
        await read_fields({})
        return {"challenge": await self.devices.begin(identity)}


def shown_device(fields: dict[str, Any]) -> DeviceProof | None:
    """Return the proof in a request's fields, None if there is none. :raises InvalidRequestError: a part is missing."""
    shown = [name for name in DEVICE_FIELDS if name in fields]
    if not shown:
        return None
    if len(shown) < len(DEVICE_FIELDS):
        raise InvalidRequestError(f"a device shows {', '.join(DEVICE_FIELDS)}, all of them")
    return DeviceProof(
        device_id=fields["device_id"],
        challenge=fields["device_challenge"],
        signature=fields["device_signature"],
    )
