# SPDX-License-Identifier: Apache-2.0
"""Real mezhub, mezd, msh and mezctl processes on loopback, for tests."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

import attrs

PASSWORD = "correct horse battery staple"
START_SECONDS = 30
COMMAND_SECONDS = 60
S_CLIENT = "openssl s_client -quiet -no_ign_eof -nocommands -verify_quiet -verify_return_error"
"""For a ProxyCommand. `-quiet` alone goes on when ssh has ended, until the hub gives up a silent client."""
ME = pwd.getpwuid(os.getuid()).pw_name


def program(name: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", f"mezite.cli.{name}", *arguments]


def clean_environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MEZITE_", "MSH_"))}
    return kept | dict(extra or {})


class Daemon:
    """A running program whose log lines can be waited for."""

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        *,
        stdout: IO[str] | int = subprocess.DEVNULL,
    ) -> None:
        self.log = log
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self.process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as stream, self.log.open("a") as copy:
            for line in stream:
                copy.write(line)
                copy.flush()
                with self._changed:
                    self._lines.append(line)
                    self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait_for(
        self, wanted: Callable[[str], bool], *, after: int = 0, seconds: float = START_SECONDS
    ) -> str:
        """Return the first line from number `after` on that is wanted."""

        def found() -> str | None:
            return next((line for line in self._lines[after:] if wanted(line)), None)

        with self._changed:
            self._changed.wait_for(lambda: found() is not None or self._ended, seconds)
            line = found()
            if line is None:
                raise AssertionError(f"no such log line; {self.log} has:\n{''.join(self._lines)}")
            return line

    @property
    def lines(self) -> list[str]:
        with self._changed:
            return list(self._lines)

    def stop(self, how: int = signal.SIGTERM, seconds: float = 20) -> int:
        if self.process.poll() is None:
            self.process.send_signal(how)
        code = self.process.wait(seconds)
        self._reader.join(seconds)
        return code

    def kill(self) -> None:
        self.stop(signal.SIGKILL)


@attrs.define(eq=False)
class Cluster:
    """One hub, its agents and its users, all in one folder."""

    folder: Path
    settings: dict[str, object] = attrs.field(factory=dict)
    hub: Daemon | None = None
    addresses: dict[str, str] = attrs.field(factory=dict)
    agents: dict[str, Daemon] = attrs.field(factory=dict)
    token: str = ""
    pin: str = ""

    @property
    def config(self) -> Path:
        return self.folder / "hub.json"

    def write_config(self) -> None:
        """YAML is a superset of JSON, so the settings can be written as they are."""
        addresses = self.addresses or {}
        base = {
            "data_dir": str(self.folder / "hub"),
            "log": {"format": "json"},
            "auth": {"listen_addr": addresses.get("auth", "127.0.0.1:0")},
            "proxy": {
                "listen_addr": addresses.get("web", "127.0.0.1:0"),
                "ssh_listen_addr": addresses.get("ssh", "127.0.0.1:0"),
                "tunnel_listen_addr": addresses.get("tunnel", "127.0.0.1:0"),
            },
            "diag": {"listen_addr": addresses.get("diag", "127.0.0.1:0")},
        }
        merged = {
            name: {**value, **own} if isinstance(own := self.settings.get(name, {}), dict) else own
            for name, value in base.items()
            if isinstance(value, dict)
        }
        self.config.write_text(json.dumps({**base, **self.settings, **merged}))

    def start_hub(self) -> None:
        """Start the hub, the second time on the ports of the first."""
        self.write_config()
        self.hub = Daemon(
            program("mezhub", "start", "--config", str(self.config)),
            clean_environment(),
            self.folder / "hub.log",
        )
        ready = json.loads(self.hub.wait_for(lambda line: '"hub ready"' in line))
        self.addresses = {name: ready[name] for name in ("web", "ssh", "tunnel", "auth", "diag")}

    def bootstrap(self) -> None:
        """Create the administrator, fetch the pin and log mezctl in."""
        self.mezhub(
            "bootstrap",
            "--config",
            str(self.config),
            "--user",
            "admin",
            "--roles",
            "admin,access",
            "--password-stdin",
            stdin=PASSWORD,
        )
        self.pin = self.mezhub("ca-pin", "--config", str(self.config)).stdout.strip()
        self.token = self.mezctl(
            "login", "--username=admin", "--password-stdin", stdin=PASSWORD
        ).stdout.strip()
        self.mezctl("users", "update", "admin", "--traits", f"logins={ME}")

    def run(
        self,
        command: Sequence[str],
        *,
        check: bool = True,
        stdin: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        result = subprocess.run(
            command,
            env=clean_environment(environment),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        if check and result.returncode != 0:
            raise AssertionError(
                f"{' '.join(command)} gave {result.returncode}\n{result.stdout}{result.stderr}"
            )
        return result

    def mezhub(
        self, *arguments: str, check: bool = True, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        return self.run(program("mezhub", *arguments), check=check, stdin=stdin)

    def mezctl(
        self, *arguments: str, check: bool = True, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        where = ["--auth-server", self.addresses["auth"], "--ca-pin", self.pin]
        environment = {"MEZITE_AUTH_TOKEN": self.token} if self.token else {}
        return self.run(
            program("mezctl", *where, *arguments), check=check, stdin=stdin, environment=environment
        )

    def msh(
        self, *arguments: str, home: str = "msh", check: bool = True, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        return self.run(
            program("msh", *arguments), check=check, stdin=stdin, environment=self.msh_environment(home)
        )

    def msh_environment(self, home: str = "msh") -> dict[str, str]:
        return {"MSH_HOME": str(self.folder / home)}

    def login(self, user: str = "admin", *options: str, home: str = "msh") -> None:
        self.msh(
            "login",
            "--proxy",
            self.addresses["web"],
            "--ca-pin",
            self.pin,
            "--user",
            user,
            "--password-stdin",
            *options,
            home=home,
            stdin=PASSWORD,
        )

    def join_token(self, *options: str) -> str:
        return (
            self.mezctl("tokens", "create", "--roles=node", "--ttl=1h", *options)
            .stdout.strip()
            .splitlines()[-1]
        )

    def agent_environment(self, name: str, **extra: str) -> dict[str, str]:
        return clean_environment(
            {
                "MEZITE_PROXY_ADDR": self.addresses["tunnel"],
                "MEZITE_AUTH_ADDR": self.addresses["auth"],
                "MEZITE_DATA_DIR": str(self.folder / "agents" / name),
                "MEZITE_NODE_NAME": name,
                "MEZITE_LOG_FORMAT": "json",
                **extra,
            }
        )

    def start_agent(self, name: str, *, wait: bool = True, **extra: str) -> Daemon:
        """Start an agent; with `wait` until its tunnel is up."""
        extra.setdefault("MEZITE_JOIN_TOKEN", self.join_token())
        agent = Daemon(
            program("mezd", "start"), self.agent_environment(name, **extra), self.folder / f"{name}.log"
        )
        self.agents[name] = agent
        if wait:
            agent.wait_for(lambda line: '"tunnel connected"' in line)
        return agent

    def try_agent(self, name: str, **extra: str) -> subprocess.CompletedProcess[str]:
        """Run an agent that is expected to end by itself."""
        return subprocess.run(
            program("mezd", "start"),
            env=self.agent_environment(name, **extra),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    def audit(self, *options: str) -> list[dict[str, object]]:
        return json.loads(self.mezctl("audit", "ls", "--format=json", "--limit=1000", *options).stdout)

    def ssh_config(self, home: str = "msh") -> Path:
        """Write what `msh config` prints to a file and return it."""
        path = self.folder / f"{home}.ssh_config"
        path.write_text(self.msh("config", home=home).stdout)
        return path

    def stop(self) -> None:
        for agent in self.agents.values():
            if agent.process.poll() is None:
                agent.stop()
        if self.hub is not None and self.hub.process.poll() is None:
            self.hub.stop()


@attrs.frozen
class Template:
    """What the first hub of this process was after its bootstrap; the next ones on SQLite begin as copies of it."""

    data_dir: Path
    pin: str
    token: str

    @classmethod
    def of(cls, cluster: Cluster) -> Template:
        data_dir = cluster.folder / "template"
        shutil.copytree(cluster.folder / "hub", data_dir, ignore=shutil.ignore_patterns("mezhub.db*"))
        source, copy = (sqlite3.connect(d / "mezhub.db") for d in (cluster.folder / "hub", data_dir))
        with contextlib.closing(source), contextlib.closing(copy):
            source.backup(copy)
        (data_dir / "mezhub.db").chmod(0o600)
        return cls(data_dir, cluster.pin, cluster.token)

    def give(self, cluster: Cluster) -> None:
        shutil.copytree(self.data_dir, cluster.folder / "hub")
        cluster.pin, cluster.token = self.pin, self.token


templates: list[Template] = []


def start_with_administrator(cluster: Cluster) -> None:
    """Start a hub that has an administrator. Only the first one on SQLite goes through the bootstrap."""
    copied = bool(templates) and "database" not in cluster.settings
    if copied:
        templates[0].give(cluster)
    cluster.start_hub()
    if not copied:
        cluster.bootstrap()
    if not templates and "database" not in cluster.settings:
        templates.append(Template.of(cluster))


@contextlib.contextmanager
def running_cluster(folder: Path, **settings: object) -> Iterator[Cluster]:
    """A hub with an administrator, on free ports; everything ends with the block."""
    cluster = Cluster(folder, settings=dict(settings))
    try:
        start_with_administrator(cluster)
        yield cluster
    finally:
        cluster.stop()
