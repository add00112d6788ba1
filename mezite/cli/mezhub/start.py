# SPDX-License-Identifier: Apache-2.0
"""`mezhub start`: the hub in the foreground."""

from __future__ import annotations

import logging
import os
import signal
from functools import partial

import attrs
import click
import trio

from mezite.cli.log_setup import configure_logging
from mezite.cli.terminal.errors import CliError, first_cause, run_command
from mezite.config.checks import hub_notes
from mezite.config.loader import load_hub_config
from mezite.config.problems import ConfigProblems
from mezite.config.schema import HubConfig
from mezite.hub.daemon import RunningHub, run_hub
from mezite.hub.web_certificate import KeypairError
from mezite.net.heap import collect_rarely
from mezite.services.authorities.certificate_authority import CaPassphraseError
from mezite.storage.errors import StorageError

__all__ = ["start"]

_log = logging.getLogger("mezite.hub")


@click.command(
    help="Run the hub in the foreground; SIGTERM drains, a second one stops at once, "
    "SIGHUP reloads certificates and logging."
)
@click.option("--config", metavar="FILE", required=True, help="The configuration file.")
def start(config: str) -> None:
    """Run until told to stop."""
    loaded = load_hub_config(config, os.environ)
    configure_logging(loaded.log.level, loaded.log.format)
    collect_rarely()
    for note in hub_notes(loaded, os.environ):
        _log.warning("configuration", extra={"note": note})
    run_command(_run, config, loaded)


async def _run(path: str, config: HubConfig) -> None:
    try:
        async with trio.open_nursery() as nursery:
            control = _Control(path, nursery.cancel_scope)
            await nursery.start(control.obey)
            async with trio.open_nursery() as hub:
                control.running = await hub.start(partial(run_hub, config, stop=control.stop))
            nursery.cancel_scope.cancel()
    except* CaPassphraseError as group:
        raise CliError("cannot open the CA keys", str(first_cause(group))) from None
    except* StorageError as group:
        raise CliError("cannot use the database", str(first_cause(group))) from None


@attrs.define(eq=False)
class _Control:
    """What signals do to the hub."""

    path: str
    scope: trio.CancelScope
    stop: trio.Event = attrs.field(factory=trio.Event)
    running: RunningHub | None = None
    """Set when every listener is bound."""

    async def obey(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Obey signals until the second one that stops the hub."""
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT, signal.SIGHUP) as signals:
            task_status.started()
            async for number in signals:
                name = signal.Signals(number).name
                if number == signal.SIGHUP:
                    self.reload()
                elif self.stop.is_set():
                    _log.warning("stopping at once", extra={"signal": name})
                    self.scope.cancel()
                    return
                else:
                    _log.info("shutting down", extra={"signal": name})
                    self.stop.set()

    def reload(self) -> None:
        """Take over what may change while the hub runs. A file that cannot be used changes nothing."""
        try:
            config = load_hub_config(self.path, os.environ)
        except ConfigProblems as problems:
            for problem in problems.problems:
                _log.error("not reloaded, the old settings hold", extra={"reason": str(problem)})
            return
        configure_logging(config.log.level, config.log.format)
        try:
            if self.running is not None:
                self.running.reload_certificates(config)
        except (OSError, KeypairError) as error:
            _log.error("certificates not reloaded, the old ones hold", extra={"reason": str(error)})
        else:
            _log.info("reloaded logging and certificates")
