# SPDX-License-Identifier: Apache-2.0
"""Run a command of ours in this process, against a hub that runs in a thread."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import click
import trio
from click.testing import CliRunner

from mezite.cli.hub_client.profile_store import ProfileStore
from mezite.cli.mezctl.program import mezctl
from mezite.cli.mezd.program import mezd
from mezite.cli.mezhub.program import mezhub
from mezite.cli.msh.program import msh
from mezite.cli.terminal.errors import run_program
from tests.handlers.peers import online_agent
from tests.hub.live_hub import PASSWORD, LiveHub, live_hub, serving_apps

PROGRAMS: dict[str, click.Command] = {"mezhub": mezhub, "mezd": mezd, "msh": msh, "mezctl": mezctl}


@attrs.frozen
class Result:
    """What a user sees."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Variables for the length of the block, as a command sees them."""
    with CliRunner().isolation(env=values):
        yield


def run(program: str, *arguments: str, stdin: str = "", environ: Mapping[str, str] | None = None) -> Result:
    """Run `program`; nothing of this machine's own set-up gets in."""
    cleared = dict.fromkeys(
        ("MEZITE_PASSWORD", "MEZITE_MFA_CODE", "MEZITE_AUTH_TOKEN", "MEZITE_AUTH_SERVER", "MSH_HOME")
    )
    with CliRunner().isolation(input=stdin, env={**cleared, **(environ or {})}) as (out, err, _both):
        code = run_program(PROGRAMS[program], program, list(arguments))
        sys.stdout.flush()
        sys.stderr.flush()
        return Result(code, out.getvalue().decode(), err.getvalue().decode())


@attrs.define(eq=False)
class HubInThread:
    """A hub with the administrator `root`, and commands that know where it is."""

    hub: LiveHub
    token: trio.lowlevel.TrioToken
    nursery: trio.Nursery
    folder: Path
    session: str = ""

    def do(self, async_function: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
        """Run something in the hub's own loop."""
        return trio.from_thread.run(partial(async_function, *args, **options), trio_token=self.token)

    def mezctl(self, *arguments: str, stdin: str = "", **environ: str) -> Result:
        if not self.session:
            login = run("mezctl", *self.where, "login", "--username=root", "--password-stdin", stdin=PASSWORD)
            assert login.code == 0, login.err
            self.session = login.out.strip()
        environment = {"MEZITE_AUTH_TOKEN": self.session, "MSH_HOME": str(self.folder / "nobody"), **environ}
        return run("mezctl", *self.where, *arguments, stdin=stdin, environ=environment)

    @property
    def where(self) -> tuple[str, ...]:
        return (f"--auth-server={self.hub.address('auth')}", f"--ca-pin={self.hub.pin}")

    def msh(self, home: Path, *arguments: str, stdin: str = "", **environ: str) -> Result:
        return run("msh", *arguments, stdin=stdin, environ={"MSH_HOME": str(home), **environ})

    def start_echo(self, node_name: str) -> None:
        """A node of that name whose agent echoes."""
        self.do(self.nursery.start, self._echo, node_name)

    async def _echo(self, node_name: str, *, task_status: trio.TaskStatus[None]) -> None:
        async with online_agent(self.hub, await self.hub.enroll(node_name)):
            task_status.started()
            await trio.sleep_forever()

    def sign_in(self, home: Path, user: str, **options: Any) -> None:
        """A user of that name whose profile is in `home`."""
        current, profile = self.do(self.hub.user, user, **options)
        ProfileStore(home).save(current, profile)


@contextmanager
def hub_in_thread(folder: Path) -> Iterator[HubInThread]:
    ready = threading.Event()
    made: list[HubInThread] = []
    stop = trio.Event()

    async def main() -> None:
        async with (
            live_hub(folder / "hub", proxy=serving_apps(folder)) as hub,
            trio.open_nursery() as nursery,
        ):
            await hub.hub.ground.accounts.create(
                "root",
                roles=("admin", "access"),
                traits={"logins": ("ubuntu",)},
                password=PASSWORD,
                by="test",
            )
            made.append(HubInThread(hub, trio.lowlevel.current_trio_token(), nursery, folder))
            ready.set()
            await stop.wait()
            nursery.cancel_scope.cancel()

    def thread() -> None:
        try:
            trio.run(main)
        finally:
            ready.set()

    running = threading.Thread(target=thread)
    running.start()
    ready.wait(60)
    assert made, "the hub did not start"
    try:
        yield made[0]
    finally:
        trio.from_thread.run_sync(stop.set, trio_token=made[0].token)
        running.join(60)
