# SPDX-License-Identifier: Apache-2.0
"""No door without a verb and a resource (threat E13)."""

import attrs
import pytest

from mezite.services.access.verb_registry import Door, DoorKind, UnregisteredDoorError, VerbRegistry

DOOR = Door(kind=DoorKind.RPC, name="/a.B/C", verb="things.list", resource="thing")


def test_a_door_is_found_by_kind_and_name():
    registry = VerbRegistry()
    assert registry.register(DOOR) is DOOR
    assert registry.door(DoorKind.RPC, "/a.B/C") is DOOR


@pytest.mark.parametrize(
    ("kind", "name"), [(DoorKind.ROUTE, "/a.B/C"), (DoorKind.RPC, "/a.B/c"), (DoorKind.RPC, "")]
)
def test_what_is_not_registered_cannot_be_served(kind, name):
    registry = VerbRegistry()
    registry.register(DOOR)
    with pytest.raises(UnregisteredDoorError):
        registry.door(kind, name)


@pytest.mark.parametrize("part", ["name", "verb", "resource"])
def test_a_door_has_all_its_parts(part):
    with pytest.raises(ValueError, match="needs a name, a verb and a resource"):
        VerbRegistry().register(attrs.evolve(DOOR, **{part: ""}))


def test_a_door_is_registered_once():
    registry = VerbRegistry()
    registry.register(DOOR)
    with pytest.raises(ValueError, match="twice"):
        registry.register(attrs.evolve(DOOR, verb="things.get"))
    registry.register(attrs.evolve(DOOR, kind=DoorKind.CHANNEL))
    registry.register(attrs.evolve(DOOR, name="/a.B/A"))
    assert [(door.kind.value, door.name) for door in registry.doors()] == [
        ("channel", "/a.B/C"),
        ("rpc", "/a.B/A"),
        ("rpc", "/a.B/C"),
    ]


def test_doors_are_closed_by_default():
    assert not DOOR.public
