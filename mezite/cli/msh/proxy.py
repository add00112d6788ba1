# SPDX-License-Identifier: Apache-2.0
"""`msh proxy ssh`: the ProxyCommand that carries an SSH client's bytes to a node."""

from __future__ import annotations

import os
import sys

import click
import trio

from mezite.cli.hub_client.user_session import current_profile, open_channel
from mezite.cli.lazy_group import CommandGroup
from mezite.cli.terminal.errors import EXIT_USAGE, CliError, run_command
from mezite.core.mux.connection import ChannelHeader
from mezite.core.mux.error_codes import ErrorCode
from mezite.core.names import node_name_in
from mezite.net.byte_streams import relay
from mezite.net.heap import keep_large_blocks
from mezite.net.mux_channel import ChannelResetError

__all__ = ["proxy"]


@click.group(cls=CommandGroup, help="Carry another program's connection to a node.")
def proxy() -> None:
    """Group only."""


@proxy.command(
    help="Raw bytes between this process and the SSH server of HOST[:PORT]; for ProxyCommand.",
    short_help="What ProxyCommand runs.",
)
@click.argument("target", metavar="HOST[:PORT]")
@click.option(
    "--login", default="", metavar="LOGIN", help="The account that will be asked for (%r in ssh_config)."
)
def ssh(target: str, login: str) -> None:
    """Relay until both sides are done."""
    run_command(_relay, target, login)


class _Stdio(trio.abc.HalfCloseableStream):
    """Standard input and output as one stream.

    ssh gives its ProxyCommand a pipe or socket of its own, so that making it non-blocking disturbs nobody. Closing is
    left to the end of the process: ssh ends a ProxyCommand whose output has ended, before it could say why.
    """

    def __init__(self) -> None:
        # Copies: a stream closes its descriptor when it is collected, which may be before the error is printed.
        self._output = trio.lowlevel.FdStream(os.dup(sys.stdout.fileno()))
        self._input = trio.lowlevel.FdStream(os.dup(sys.stdin.fileno()))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """To standard output."""
        await self._output.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Until standard output takes more."""
        await self._output.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        """From standard input."""
        return await self._input.receive_some(max_bytes)

    async def send_eof(self) -> None:
        """Close standard output: the node has said all."""
        await self._output.aclose()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)

    async def aclose(self) -> None:
        """Nothing; see above."""
        await trio.lowlevel.checkpoint()


async def _relay(target: str, login: str) -> None:
    current, _profile = current_profile()
    node = node_name_in(target, current.cluster)
    if not node:
        raise CliError("no node given", "", "write NODE or NODE:22", exit_code=EXIT_USAGE)
    header = ChannelHeader(kind="ssh", target=node, attributes={"login": login} if login else {})
    keep_large_blocks()
    async with open_channel(header) as channel:
        try:
            await relay(_Stdio(), channel)
        except ChannelResetError as reset:
            if reset.code is ErrorCode.REFUSED:
                raise CliError(reset.text) from None
            raise CliError(f"the connection to {node} was lost", str(reset), "connect again") from None
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            raise CliError(f"the connection to {node} was lost", str(error), "connect again") from None
