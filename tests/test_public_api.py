# SPDX-License-Identifier: Apache-2.0
"""What the library offers is there, quickly, and what a module calls public exists."""

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import mezite

ROOT = Path(__file__).parent.parent
MODULES = sorted(
    module.name
    for module in pkgutil.walk_packages(mezite.__path__, "mezite.")
    # Alembic runs env.py in a context of its own.
    if not module.name.startswith(("mezite.api.pb", "mezite.storage.migrations"))
)


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_exists(name):
    module = importlib.import_module(name)
    assert [missing for missing in getattr(module, "__all__", ()) if not hasattr(module, missing)] == []


@pytest.mark.parametrize("name", mezite.__all__)
def test_the_library_offers_it(name):
    value = getattr(mezite, name)
    assert value is getattr(importlib.import_module(mezite._HOMES[name]), name)
    assert name in dir(mezite)


def test_the_lists_agree():
    """The types that a checker sees, the names that are loaded, and `__all__`."""
    tree = ast.parse((ROOT / "mezite" / "__init__.py").read_text(encoding="utf-8"))
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    for_checkers = {alias.name: node.module for node in block.body for alias in node.names}
    assert for_checkers == mezite._HOMES
    assert set(mezite.__all__) == set(mezite._HOMES)


def test_only_ground_layers_are_offered():
    assert {module.split(".")[1] for module in mezite._HOMES.values()} == {"core", "net"}


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = mezite.no_such_name


def loaded_by(statement):
    code = f"import sys; {statement}; print(*sorted({{name.partition('.')[0] for name in sys.modules}}))"
    return set(
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout.split()
    )


def test_importing_the_library_imports_nothing_else():
    assert loaded_by("import mezite") - loaded_by("import importlib, typing, __future__") == {"mezite"}


def test_the_protocol_core_needs_no_event_loop():
    assert "trio" not in loaded_by("from mezite import MuxConnection, Side, ChannelHeader, sniff")


def test_the_readmes_example_runs():
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)
    exec(compile(block, "README.md", "exec"), {})
