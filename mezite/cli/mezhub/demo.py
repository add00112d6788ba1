# SPDX-License-Identifier: Apache-2.0
"""`mezhub demo`: a hub and an agent on this machine, in one process, on free ports, in one folder."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import click
import trio

from mezite.agent.daemon import run_agent
from mezite.agent.joining import JoinError
from mezite.cli.log_setup import configure_logging
from mezite.cli.mezhub.demo_apps import DemoApps, serve_demo_apps
from mezite.cli.program_path import program_command, program_text
from mezite.cli.terminal.errors import EXIT_INTERRUPTED, EXIT_OK, CliError, first_cause, run_command
from mezite.config.kinds import ListenAddress
from mezite.config.schema import AgentConfig, AuthConfig, DiagConfig, HubConfig, ProxyConfig
from mezite.core.secret import Secret
from mezite.hub.daemon import RunningHub, run_hub
from mezite.services.apps.registration import AppRegistration
from mezite.services.sources import system_sources

__all__ = ["demo"]

NODE = "demo-node"
TCP_APP = "shout"
WEB_APP = "hello"
APPS_DOMAIN = "apps.localhost"
LOCAL = "127.0.0.1"
ONLINE_SECONDS = 30
"""A tunnel on loopback comes up in tenths of a second; a busy machine may take longer."""


@attrs.frozen(kw_only=True)
class _Demo:
    """A demo that is up, and how to use it."""

    folder: Path
    user: str
    password: Secret
    web: str
    auth: str
    ssh: str
    pin: str
    apps: DemoApps

    @property
    def environment(self) -> dict[str, str]:
        """What msh needs to see; nothing of the user's own set-up gets in."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MEZITE_")}
        return kept | {"MSH_HOME": str(self.folder / "msh")}


@click.command(help="Try everything on this machine: hub, agent and node, in one folder, on free ports.")
@click.option(
    "--dir", "folder", metavar="DIR", help="Keep everything there.  [default: a folder that goes away]"
)
@click.option(
    "--run",
    "run_text",
    metavar="COMMAND",
    help="Run COMMAND on the node over SSH, print its output, and end.",
)
@click.option("--verbose", is_flag=True, help="Show the logs of hub and agent.")
def demo(folder: str | None, run_text: str | None, verbose: bool) -> int:
    """Run until Ctrl-C, or until COMMAND has ended, with its exit code, or 130 when it is not let end."""
    if shutil.which("ssh") is None:
        raise CliError(
            "the demo needs the OpenSSH client",
            "ssh is not installed",
            "Debian: apt-get install openssh-client",
        )
    configure_logging("info" if verbose else "error", "text")
    with _demo_folder(folder) as path:
        return run_command(_run, path, run_text)


@contextmanager
def _demo_folder(folder: str | None) -> Iterator[Path]:
    if folder is not None:
        path = Path(folder).resolve()
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise CliError(
                f"cannot make {path}", error.strerror or str(error), "choose a folder that you may write"
            ) from None
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="mezite-demo-", ignore_cleanup_errors=True) as temporary:
        yield Path(temporary)


async def _run(folder: Path, run_text: str | None) -> int:
    status = EXIT_OK if run_text is None else EXIT_INTERRUPTED
    stop = trio.Event()
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_watch_signals, nursery.cancel_scope)
            async with trio.open_nursery() as daemons:
                running = await _start(folder, daemons, stop)
                if run_text is None:
                    _say_what_next(running)
                    await trio.sleep_forever()
                status = await _run_command(running, run_text)
                daemons.cancel_scope.cancel()
            nursery.cancel_scope.cancel()
    except* JoinError as group:
        raise CliError("the demo's agent could not join", str(first_cause(group))) from None
    return status


async def _watch_signals(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async for _number in signals:
            scope.cancel()
            return


async def _start(folder: Path, nursery: trio.Nursery, stop: trio.Event) -> _Demo:
    sources = system_sources()
    anywhere = ListenAddress(LOCAL, 0)
    proxy = ProxyConfig(
        listen_addr=anywhere,
        ssh_listen_addr=anywhere,
        tunnel_listen_addr=anywhere,
        apps_domain=APPS_DOMAIN,
    )
    config = HubConfig(
        cluster_name="demo",
        data_dir=str(folder / "hub"),
        auth=AuthConfig(listen_addr=anywhere),
        proxy=proxy,
        diag=DiagConfig(listen_addr=anywhere),
    )
    hub: RunningHub = await nursery.start(_run_hub, config, stop)
    # Applications send browsers to the hub and back: by a name, as cookies and security keys want it.
    names = {name: f"localhost:{address.rpartition(':')[2]}" for name, address in hub.addresses.items()}
    hub.hub.services.addresses.bound(names)
    apps: DemoApps = await nursery.start(serve_demo_apps)
    running = await _create_user(folder, hub, apps)
    await _register(hub, apps)
    token = await hub.hub.ground.enrollment.create_token(
        roles=("node",), ttl_seconds=3600, labels={"env": "demo"}, by="demo"
    )
    agent = AgentConfig(
        proxy_addr=hub.addresses["tunnel"],
        auth_addr=hub.addresses["auth"],
        join_token=token.text,
        data_dir=str(folder / "agent"),
    )
    nursery.start_soon(_run_agent, agent, sources.now)
    await _wait_online(hub)
    await _call_msh(
        running,
        ["login", "--proxy", running.web, "--user", running.user, "--ca-pin", running.pin],
        {"MEZITE_PASSWORD": running.password.reveal()},
    )
    return running


async def _run_hub(config: HubConfig, stop: trio.Event, *, task_status: trio.TaskStatus[RunningHub]) -> None:
    await run_hub(config, stop=stop, task_status=task_status)


async def _run_agent(config: AgentConfig, now: Callable[[], int]) -> None:
    await run_agent(config, node_name=NODE, now=now)


async def _create_user(folder: Path, hub: RunningHub, apps: DemoApps) -> _Demo:
    ground = hub.hub.ground
    user = getpass.getuser()
    password = Secret(ground.sources.new_secret()[:24])
    existing = {row.name for row in await ground.accounts.list_users()}
    traits = {"logins": (user,)}
    if user in existing:
        await ground.accounts.update(user, roles=None, traits=traits, password=password.reveal(), by="demo")
    else:
        await ground.accounts.create(
            user, roles=("admin", "access"), traits=traits, password=password.reveal(), by="demo"
        )
    port = {name: address.rpartition(":")[2] for name, address in hub.addresses.items()}
    return _Demo(
        folder=folder,
        user=user,
        password=password,
        web=f"localhost:{port['web']}",
        auth=f"localhost:{port['auth']}",
        ssh=f"localhost:{port['ssh']}",
        pin=f"sha256:{ground.authorities.host_pin}",
        apps=apps,
    )


async def _register(hub: RunningHub, apps: DemoApps) -> None:
    uris = {TCP_APP: f"tcp://{LOCAL}:{apps.tcp_port}", WEB_APP: f"http://{LOCAL}:{apps.web_port}"}
    for name, uri in uris.items():
        registration = AppRegistration(name=name, uri=uri, labels={"env": "demo"}, agent_hostnames=(NODE,))
        await hub.hub.services.apps.register(registration, by="demo", client_address=f"{LOCAL}:0")


async def _wait_online(hub: RunningHub) -> None:
    with trio.move_on_after(ONLINE_SECONDS):
        await hub.hub.services.registry.wait_tunnel()
        return
    raise CliError(
        "the demo's agent did not connect", f"nothing for {ONLINE_SECONDS} s", "run again with --verbose"
    )


async def _call_msh(running: _Demo, arguments: list[str], extra: dict[str, str]) -> None:
    result = await trio.run_process(
        [*program_command("msh"), *arguments],
        env=running.environment | extra,
        capture_stderr=True,
        capture_stdout=True,
        check=False,
    )
    if result.returncode != 0:
        raise CliError("the demo could not log in", result.stderr.decode(errors="replace").strip())


async def _run_command(running: _Demo, command: str) -> int:
    process = await trio.lowlevel.open_process(
        [*program_command("msh"), "ssh", f"{running.user}@{NODE}", command], env=running.environment
    )
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            process.terminate()


def _say_what_next(running: _Demo) -> None:
    msh, mezctl = program_text("msh"), program_text("mezctl")
    home = running.environment["MSH_HOME"]
    click.echo(
        f"""A hub and an agent are running; you are logged in as {running.user}.

  In another terminal:

    export MSH_HOME={home}
    {msh} ls
    {msh} ssh {running.user}@{NODE}
    {msh} ssh {running.user}@{NODE} uname -a
    {msh} ssh -N -L 8080:127.0.0.1:{running.apps.web_port} {NODE}     # then open http://localhost:8080
    {msh} app login {TCP_APP} --port 7000     # then: nc localhost 7000
    {msh} config > {home}/ssh_config && ssh -F {home}/ssh_config {NODE}.demo
    {mezctl} --auth-server={running.auth} audit ls

  Web     https://{running.web}
  App     https://{WEB_APP}.{APPS_DOMAIN}:{running.web.rpartition(":")[2]}
  User    {running.user}   password {running.password.reveal()}
  CA pin  {running.pin}

  Ctrl-C ends everything."""
    )
    sys.stdout.flush()
