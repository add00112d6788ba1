# SPDX-License-Identifier: Apache-2.0
"""`mezhub start`: the hub in the foreground."""

from __future__ import annotations

import logging
import os
import signal

import click
import trio

from mezite.cli.errors import CliError, run_command
from mezite.cli.log_setup import configure_logging
from mezite.config.loader import load_hub_config
from mezite.config.schema import HubConfig
from mezite.hub.daemon import run_hub
from mezite.services.certificate_authority import CaPassphraseError
from mezite.storage.errors import StorageError

__all__ = ["start"]

_log = logging.getLogger("mezite.hub")


@click.command(help="Run the hub in the foreground; SIGTERM drains, a second one stops at once.")
@click.option("--config", metavar="FILE", required=True, help="The configuration file.")
def start(config: str) -> None:
    """Run until told to stop."""
    loaded = load_hub_config(config, os.environ)
    configure_logging(loaded.log.level, loaded.log.format)
    run_command(_run, loaded)


async def _run(config: HubConfig) -> None:
    stop = trio.Event()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch_signals, stop, nursery.cancel_scope)
            await run_hub(config, stop=stop)
            nursery.cancel_scope.cancel()
    except* CaPassphraseError as group:
        raise CliError("cannot open the CA keys", str(group.exceptions[0])) from None
    except* StorageError as group:
        raise CliError("cannot use the database", str(group.exceptions[0])) from None


async def _watch_signals(stop: trio.Event, scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for number in signals:
            if stop.is_set():
                _log.warning("stopping at once", extra={"signal": signal.Signals(number).name})
                scope.cancel()
                return
            _log.info("shutting down", extra={"signal": signal.Signals(number).name})
            stop.set()
