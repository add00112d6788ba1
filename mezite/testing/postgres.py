# SPDX-License-Identifier: Apache-2.0
"""A throw-away PostgreSQL cluster, for tests that want the real thing.

PostgreSQL refuses to run as root; then it runs as the account `postgres`, else `nobody`. The cluster lives in
a directory of its own under the system's temporary directory, listens on a free loopback port and a socket
inside that directory, and is gone, directory included, when the context ends.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import attrs

from mezite.testing.ports import free_port

__all__ = ["PostgresCluster", "find_postgres", "run_postgres"]

USER = "mezite"
DEBIAN_PACKAGES = Path("/usr/lib/postgresql")
START_SECONDS = 30
STOP_SECONDS = 20


@attrs.frozen(kw_only=True)
class PostgresCluster:
    """A running cluster. `password` belongs to the superuser `mezite`; local sockets need none."""

    directory: Path
    port: int
    password: str = attrs.field(repr=False)
    process: subprocess.Popen[bytes] = attrs.field(repr=False)
    binaries: Path

    def url(self, database: str, *, password: str | None = None) -> str:
        """Where a database is reached over TCP; another `password` makes a URL that is refused."""
        return f"postgres://{USER}:{password or self.password}@127.0.0.1:{self.port}/{database}"

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """Create a database, as a copy of `template` (to which nobody may be connected); its URL."""
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Drop it, and end whatever is connected to it."""
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, statement: str, *, database: str = "postgres") -> str:
        """Run one statement through psql and return what it prints, columns separated by `|`."""
        arguments = ["-h", str(self.directory), "-p", str(self.port), "-U", USER, "-d", database]
        done = subprocess.run(
            [
                self.binaries / "psql",
                "-X",
                "-q",
                "-A",
                "-t",
                "-v",
                "ON_ERROR_STOP=1",
                *arguments,
                "-c",
                statement,
            ],
            check=False,
            capture_output=True,
            text=True,
            env={**os.environ, "PGPASSWORD": self.password},
            timeout=60,
        )
        if done.returncode:
            raise RuntimeError(f"psql: {done.stderr.strip()}")
        return done.stdout.strip()

    def stop(self) -> None:
        """Fast shutdown: sessions are cut off, data is flushed. Harder when it takes longer than 20 s."""
        for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            self.process.send_signal(number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS)
                return


@contextlib.contextmanager
def run_postgres(
    *, fsync: bool = False, settings: Mapping[str, str] = MappingProxyType({})
) -> Iterator[PostgresCluster]:
    """Start a cluster and stop it at the end.

    Without `fsync` it is quick, and worth nothing after a power loss. `settings` go into the server's command
    line. FileNotFoundError without PostgreSQL, RuntimeError with the server's words when it does not start.
    """
    binaries = find_postgres()
    account = _account()
    directory = Path(tempfile.mkdtemp(prefix="mezite-postgres-"))
    cluster = None
    try:
        if account is not None:
            os.chown(directory, account.pw_uid, account.pw_gid)
        password = secrets.token_hex(16)
        _initialise(binaries, directory, password, account)
        cluster = _start(
            binaries, directory, password, account, {"fsync": "on" if fsync else "off", **settings}
        )
        _wait_until_ready(cluster)
        yield cluster
    finally:
        if cluster is not None:
            cluster.stop()
        shutil.rmtree(directory, ignore_errors=True)


def find_postgres(*, packages: Path = DEBIAN_PACKAGES, path: str | None = None) -> Path:
    """The directory with `initdb` and `postgres`: the newest under `packages`, else from `path` (default:
    PATH).

    FileNotFoundError, with the command to type, when there is none.
    """
    debian = sorted(packages.glob("*/bin/initdb"), key=_version)
    if debian:
        return debian[-1].parent
    on_path = shutil.which("initdb", path=path)
    if on_path is not None:
        return Path(on_path).resolve().parent
    raise FileNotFoundError("PostgreSQL is not installed; run: apt-get install postgresql")


def _version(path: Path) -> float:
    try:
        return float(path.parent.parent.name)
    except ValueError:
        return 0.0


def _account() -> pwd.struct_passwd | None:
    """Who runs the server: None is "ourselves"."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _identity(account: pwd.struct_passwd | None) -> tuple[int | None, int | None, list[int] | None]:
    return (None, None, None) if account is None else (account.pw_uid, account.pw_gid, [])


def _initialise(binaries: Path, directory: Path, password: str, account: pwd.struct_passwd | None) -> None:
    user, group, extra_groups = _identity(account)
    password_file = directory / "password"
    password_file.write_text(password, encoding="ascii")
    if account is not None:
        os.chown(password_file, account.pw_uid, account.pw_gid)
    done = subprocess.run(
        [
            binaries / "initdb",
            f"--pgdata={directory / 'data'}",
            f"--username={USER}",
            f"--pwfile={password_file}",
            "--auth-local=trust",
            "--auth-host=scram-sha-256",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ],
        check=False,
        capture_output=True,
        text=True,
        cwd=directory,
        user=user,
        group=group,
        extra_groups=extra_groups,
    )
    if done.returncode:
        raise RuntimeError(f"initdb: {done.stderr.strip()}")


def _start(
    binaries: Path,
    directory: Path,
    password: str,
    account: pwd.struct_passwd | None,
    settings: Mapping[str, str],
) -> PostgresCluster:
    user, group, extra_groups = _identity(account)
    port = free_port()
    options = {
        "listen_addresses": "127.0.0.1",
        "port": str(port),
        "unix_socket_directories": str(directory),
        "shared_buffers": "32MB",
        **settings,
    }
    arguments = [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [binaries / "postgres", "-D", directory / "data", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=directory,
            user=user,
            group=group,
            extra_groups=extra_groups,
        )
    return PostgresCluster(
        directory=directory, port=port, password=password, process=process, binaries=binaries
    )


def _wait_until_ready(cluster: PostgresCluster) -> None:
    """Ask pg_isready until it says yes; RuntimeError with the server's log when it never does."""
    ask: list[str | Path] = [
        cluster.binaries / "pg_isready",
        "-q",
        "-h",
        str(cluster.directory),
        "-p",
        str(cluster.port),
    ]
    for _ in range(START_SECONDS * 10):
        if subprocess.run(ask, check=False).returncode == 0:
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            cluster.process.wait(0.1)
            break
    raise RuntimeError(f"PostgreSQL does not start: {(cluster.directory / 'log').read_text()[-2000:]}")
