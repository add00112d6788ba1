# SPDX-License-Identifier: Apache-2.0
"""`mezd start`: the agent in the foreground."""

from __future__ import annotations

import logging
import os
import signal
import socket
import time

import click
import trio

from mezite.agent.daemon import run_agent
from mezite.agent.identity_store import IdentityDamagedError
from mezite.cli.hub_client.trusted_roots import read_roots
from mezite.cli.hub_client.way_out import way_out
from mezite.cli.log_setup import configure_logging
from mezite.cli.terminal.errors import EXIT_USAGE, CliError, first_cause, run_command
from mezite.config.loader import load_agent_config
from mezite.config.schema import AgentConfig
from mezite.core.names import InvalidNameError, node_name_from_host_name
from mezite.net.outbound import Outbound

__all__ = ["outbound_of", "start"]

_log = logging.getLogger("mezite.agent")


@click.command(help="Run the agent in the foreground; everything can come from the environment.")
@click.option("--config", metavar="FILE", help="The configuration file.")
def start(config: str | None) -> None:
    """Join if need be, then hold the tunnel until told to stop."""
    loaded = load_agent_config(config, os.environ)
    configure_logging(loaded.log.level, loaded.log.format)
    # Started in the background or by nohup, these are ignored, and every program of every session would inherit that.
    # A handler that does nothing is as good for us and ends with exec.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, _ignore)
    run_command(_run, loaded, _node_name(loaded), outbound_of(loaded))


def _ignore(_number: int, _frame: object) -> None:
    return


def outbound_of(config: AgentConfig) -> Outbound:
    """Return the agent's way out. :raises CliError: a proxy variable or `outer_ca_file` cannot be used."""
    if config.outer_ca_file is None:
        return way_out()
    return way_out(read_roots(config.outer_ca_file, setting="outer_ca_file (MEZITE_OUTER_CA_FILE)"))


def _node_name(config: AgentConfig) -> str:
    if config.node_name is not None:
        return config.node_name
    try:
        return node_name_from_host_name(socket.gethostname())
    except InvalidNameError as error:
        raise CliError(
            "this machine's name cannot be a node name",
            str(error),
            "set MEZITE_NODE_NAME",
            exit_code=EXIT_USAGE,
        ) from None


async def _run(config: AgentConfig, node_name: str, outbound: Outbound) -> None:
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch_signals, nursery.cancel_scope)
            await run_agent(
                config, node_name=node_name, now=lambda: time.time_ns() // 1_000_000, outbound=outbound
            )
    except* IdentityDamagedError as group:
        raise CliError(
            "the agent's identity is damaged", str(first_cause(group)), "delete it and join with a new token"
        ) from None


async def _watch_signals(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            _log.info("shutting down", extra={"signal": signal.Signals(number).name})
            scope.cancel()
            return
