# SPDX-License-Identifier: Apache-2.0
"""Other people's web applications as processes, with their address and base URL set and nothing else changed."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mezite.testing.ports import free_port
from tests.e2e.harness import Daemon, clean_environment

ENVIRONMENT = Path(__file__).parents[2] / ".venv" / "applications"
"""Made by `bin/prepare applications`."""
START_SECONDS = 60


def installed(name: str) -> str:
    program = ENVIRONMENT / "bin" / name
    if not program.exists():
        raise RuntimeError(f"{program} is missing: run bin/prepare applications")
    return str(program)


@contextmanager
def running(name: str, command: list[str], ready: str, folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    home = {"HOME": str(folder), "TMPDIR": str(folder)}
    process = Daemon(command, clean_environment(home), folder / f"{name}.log")
    try:
        process.wait_for(lambda line: ready in line, seconds=START_SECONDS)
        yield
    finally:
        process.stop()


@contextmanager
def jupyterlab(folder: Path, token: str) -> Iterator[str]:
    """Let in who knows the token; it looks at Host by itself and has to be told that it stands behind a proxy."""
    port = free_port()
    (folder / "notebooks").mkdir(parents=True)
    options = {
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.root_dir": folder / "notebooks",
        "ServerApp.allow_remote_access": True,
        "ServerApp.open_browser": False,
        "IdentityProvider.token": token,
        "LabApp.news_url": "None",
    }
    command = [
        installed("jupyter-lab"),
        "--allow-root",
        *(f"--{key}={value}" for key, value in options.items()),
    ]
    with running("jupyterlab", command, "is running at", folder):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def prometheus(folder: Path, url: str) -> Iterator[str]:
    """It watches itself; `url` is by which its pages call themselves."""
    port = free_port()
    folder.mkdir(parents=True)
    target = f'[{{"targets": ["127.0.0.1:{port}"]}}]'
    (folder / "prometheus.yml").write_text(
        "global: {scrape_interval: 1s}\n"
        f'scrape_configs: [{{"job_name": "itself", "static_configs": {target}}}]\n'
    )
    command = [
        "prometheus",
        f"--config.file={folder}/prometheus.yml",
        f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}",
        f"--web.external-url={url}",
    ]
    with running("prometheus", command, "Server is ready", folder):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def httpbin(folder: Path) -> Iterator[str]:
    port = free_port()
    command = [installed("gunicorn"), "--threads=4", f"--bind=127.0.0.1:{port}", "httpbin:app"]
    with running("httpbin", command, "Listening at", folder):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def counter(folder: Path) -> Iterator[str]:
    port = free_port()
    script = str(Path(__file__).parent / "applications" / "counter.py")
    with running("counter", [sys.executable, script, str(port)], "counting", folder):
        yield f"http://127.0.0.1:{port}"
