# SPDX-License-Identifier: Apache-2.0
"""Every door of the hub, with the verb and the kind of resource that it asks `authorize()` about.

A route, RPC or channel kind that is not in here cannot be served (threat E13): the servers look their doors up in
the registry, and a test walks all entries as nobody, as a user without roles and as each role.
"""

from __future__ import annotations

from enum import Enum

import attrs

__all__ = ["Door", "DoorKind", "UnregisteredDoorError", "VerbRegistry"]


class DoorKind(Enum):
    """What kind of entrance a door is."""

    ROUTE = "route"
    """An HTTP method and path of the web API."""
    RPC = "rpc"
    """A gRPC method path."""
    WEBSOCKET = "websocket"
    """A path of the web port that is asked for a WebSocket."""
    CHANNEL = "channel"
    """A channel kind that users may open on `mezite-connect/1`, or that port 3023 opens for them."""


@attrs.frozen(kw_only=True)
class Door:
    """One entrance."""

    kind: DoorKind
    name: str
    """`GET /v1/webapi/ping`, `/mezite.v1.NodeService/ListNodes`, `ssh`."""
    verb: str
    """What is asked of `authorize()`: `nodes.list`."""
    resource: str
    """The kind of resource: `node`, `user`, `cluster` ..."""
    public: bool = False
    """The request carries its own credential (a password, a join token) or needs none; the handler checks it."""


class UnregisteredDoorError(LookupError):
    """Something was about to be served that has no entry in the registry."""


class VerbRegistry:
    """The closed list of doors."""

    def __init__(self) -> None:
        self._doors: dict[tuple[DoorKind, str], Door] = {}

    def register(self, door: Door) -> Door:
        """Add a door and return it.

        :raises ValueError: a door of that kind and name is there already, or a part is empty.
        """
        if not (door.name and door.verb and door.resource):
            raise ValueError(f"a door needs a name, a verb and a resource: {door}")
        key = (door.kind, door.name)
        if key in self._doors:
            raise ValueError(f"{door.kind.value} {door.name} is registered twice")
        self._doors[key] = door
        return door

    def door(self, kind: DoorKind, name: str) -> Door:
        """Return the door of that kind and name.

        :raises UnregisteredDoorError: there is none; refuse to serve.
        """
        try:
            return self._doors[kind, name]
        except KeyError:
            raise UnregisteredDoorError(f"{kind.value} {name} has no verb and resource") from None

    def doors(self) -> list[Door]:
        """Return all doors, sorted by kind and name."""
        return sorted(self._doors.values(), key=lambda door: (door.kind.value, door.name))
