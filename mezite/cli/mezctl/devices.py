# SPDX-License-Identifier: Apache-2.0
"""`mezctl devices`: which devices are trusted."""

from __future__ import annotations

from typing import TypeVar

import click
from google.protobuf.message import Message

from mezite.api.pb.mezite.v1 import devices_pb2 as pb
from mezite.cli.hub_client.auth_server import AuthServer, auth_server
from mezite.cli.hub_client.hub_connection import open_hub
from mezite.cli.lazy_group import CommandGroup
from mezite.cli.terminal.device_rows import DEVICE_COLUMNS, device_row
from mezite.cli.terminal.errors import run_command
from mezite.cli.terminal.output import OutputFormat, format_option, print_rows

__all__ = ["devices"]

_Answer = TypeVar("_Answer", bound=Message)


@click.group(cls=CommandGroup, help="Devices of users.")
def devices() -> None:
    """Group only."""


@devices.command("ls", help="List devices, newest first.")
@click.option("--pending", is_flag=True, help="Only those that wait for approval.")
@format_option
@click.pass_context
def list_devices(ctx: click.Context, pending: bool, output_format: OutputFormat) -> None:
    """List devices."""
    listed = run_command(
        _call, auth_server(ctx), "ListDevices", pb.ListDevicesRequest(), pb.ListDevicesResponse
    )
    rows = [device_row(each) for each in listed.devices if not (pending and each.approved_at_ms)]
    print_rows(rows, DEVICE_COLUMNS, output_format)


@devices.command(help="Trust a device that waits for approval.")
@click.argument("identifier", metavar="ID")
@click.pass_context
def approve(ctx: click.Context, identifier: str) -> None:
    """Approve one device."""
    request = pb.ApproveDeviceRequest(id=identifier)
    device = run_command(_call, auth_server(ctx), "ApproveDevice", request, pb.Device)
    click.echo(f"device {device.id} ({device.name}) of {device.user_name} is trusted")


@devices.command("rm", help="Trust a device no longer; what runs from it and needs it to be trusted ends.")
@click.argument("identifier", metavar="ID")
@click.pass_context
def remove(ctx: click.Context, identifier: str) -> None:
    """Remove one device."""
    request = pb.RemoveDeviceRequest(id=identifier)
    run_command(_call, auth_server(ctx), "RemoveDevice", request, pb.RemoveDeviceResponse)
    click.echo(f"device {identifier} removed")


async def _call(options: AuthServer, name: str, request: Message, answer: type[_Answer]) -> _Answer:
    async with open_hub(options) as hub:
        return await hub.unary(f"/mezite.v1.DeviceService/{name}", request, answer)
