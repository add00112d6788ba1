# SPDX-License-Identifier: Apache-2.0
"""`msh device`: make this machine a device that the hub can trust."""

from __future__ import annotations

import os
import socket

import attrs
import click

from mezite.api.pb.mezite.v1 import devices_pb2 as pb
from mezite.cli.hub_client.profile_store import CurrentProfile, ProfileStore
from mezite.cli.hub_client.user_session import open_api
from mezite.cli.lazy_group import CommandGroup
from mezite.cli.msh.device_key import DeviceKey
from mezite.cli.terminal.device_rows import DEVICE_COLUMNS, device_row
from mezite.cli.terminal.errors import CliError, run_command
from mezite.cli.terminal.output import OutputFormat, format_option, print_rows
from mezite.core.device_proof import DevicePurpose

__all__ = ["device"]

_SERVICE = "/mezite.v1.DeviceService/"


@click.group(cls=CommandGroup, help="This machine as a trusted device.")
def device() -> None:
    """Group only."""


@device.command(help="Make a key for this device and enrol it; an administrator approves it.")
@click.option("--name", metavar="NAME", help="What the device is called.  [default: the host name]")
def enroll(name: str | None) -> None:
    """Enrol this machine for the profile in use."""
    store = ProfileStore.from_environment(os.environ)
    current = store.current()
    known = DeviceKey.load(store, current.host, current.user)
    if known is not None:
        raise CliError(
            "this device is enrolled already",
            f"as {known.device_id}",
            f"`msh device rm {known.device_id}` forgets it",
        )
    enrolled = run_command(_enroll, store, current, name or socket.gethostname())
    click.echo(f"device {enrolled.id} ({enrolled.name}) waits for approval")
    click.echo(f"then log in again: an administrator runs mezctl devices approve {enrolled.id}", err=True)


@device.command("ls", help="List your devices.")
@format_option
def list_devices(output_format: OutputFormat) -> None:
    """List the user's own devices."""
    current = ProfileStore.from_environment(os.environ).current()
    listed = run_command(_list)
    rows = [device_row(each) for each in listed.devices if each.user_name == current.user]
    print_rows(rows, DEVICE_COLUMNS, output_format)


@device.command("rm", help="Remove one of your devices.")
@click.argument("identifier", metavar="ID")
def remove(identifier: str) -> None:
    """Remove a device; the key of this one is deleted."""
    store = ProfileStore.from_environment(os.environ)
    current = store.current()
    run_command(_remove, identifier)
    known = DeviceKey.load(store, current.host, current.user)
    if known is not None and known.device_id == identifier:
        DeviceKey.forget(store, current.host, current.user)
    click.echo(f"device {identifier} removed")


async def _enroll(store: ProfileStore, current: CurrentProfile, name: str) -> pb.Device:
    made = DeviceKey.make()
    async with open_api() as hub:
        begun = await hub.unary(
            _SERVICE + "BeginDeviceProof", pb.BeginDeviceProofRequest(), pb.BeginDeviceProofResponse
        )
        parts = (current.cluster, current.user, begun.challenge, name)
        request = pb.EnrollDeviceRequest(
            name=name,
            public_key=made.public_line,
            challenge=begun.challenge,
            signature=made.prove(DevicePurpose.ENROLL, *parts),
        )
        enrolled = await hub.unary(_SERVICE + "EnrollDevice", request, pb.Device)
    attrs.evolve(made, device_id=enrolled.id).save(store, current.host, current.user)
    return enrolled


async def _list() -> pb.ListDevicesResponse:
    async with open_api() as hub:
        return await hub.unary(_SERVICE + "ListDevices", pb.ListDevicesRequest(), pb.ListDevicesResponse)


async def _remove(identifier: str) -> None:
    async with open_api() as hub:
        await hub.unary(
            _SERVICE + "RemoveDevice", pb.RemoveDeviceRequest(id=identifier), pb.RemoveDeviceResponse
        )
