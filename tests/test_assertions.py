# SPDX-License-Identifier: Apache-2.0
"""Threat P18: `python -O` takes `assert` away, so that nothing may depend on one.

In the package an `assert` tells the type checker what a value is, and nothing else. Checks are written as `if … raise`;
`bin/check optimised` runs the tests of those that keep people out under -O as well.
"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "mezite"
GENERATED = PACKAGE / "api" / "pb"


def only_narrows(test: ast.expr) -> bool:
    match test:
        case ast.Compare(ops=[ast.IsNot()], comparators=[ast.Constant(value=None)]):
            return True
        case ast.Call(func=ast.Name(id="isinstance" | "issubclass")):
            return True
        case ast.UnaryOp(op=ast.Not(), operand=ast.Call() as call):
            return only_narrows(call)
        case ast.BoolOp(op=ast.And(), values=values):
            return all(only_narrows(value) for value in values)
        case _:
            return False


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("assert x is not None", True),
        ("assert isinstance(x, int) and y.z is not None, 'why'", True),
        ("assert not isinstance(x, int)", True),
        ("assert not may(user)", False),
        ("assert x", False),
        ("assert x is not None or y", False),
        ("assert isinstance(x, int) and x > 0", False),
        ("assert may(user)", False),
    ],
)
def test_what_narrows(code: str, expected: bool) -> None:
    (statement,) = ast.parse(code).body
    assert isinstance(statement, ast.Assert)
    assert only_narrows(statement.test) is expected


def test_assertions_only_narrow_types() -> None:
    others = [
        f"{path.relative_to(PACKAGE)}:{node.lineno}: {ast.unparse(node)}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if GENERATED not in path.parents and PACKAGE / "testing" not in path.parents
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if (isinstance(node, ast.Assert) and not only_narrows(node.test))
        or (isinstance(node, ast.Name) and node.id == "__debug__")
    ]
    assert others == []
