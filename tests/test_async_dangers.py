# SPDX-License-Identifier: Apache-2.0
"""What Trio punishes, held off by reading the package's own source (threats P5, P7, P8, P12)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "mezite"
GENERATED = PACKAGE / "api" / "pb"
BESIDE_THE_COLUMN = PACKAGE / "testing"

KEEPS_EVERYTHING = {
    "ssh/child.py": "a forked child ends here and must never get back into the helper's loop",
}
ABANDONS = {
    "cli/hub_client/sso_sign_in.py": "a browser that opens late shows a page that says so",
    "net/dialer.py": "a look-up of a name has no effect",
    "ssh/forwarding.py": "the same",
}
ONLY_FOR_TESTS = {"memory_stream_pair", "memory_stream_one_way_pair", "lockstep_stream_pair"}


def modules() -> Iterator[tuple[str, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        if GENERATED not in path.parents and BESIDE_THE_COLUMN not in path.parents:
            yield str(path.relative_to(PACKAGE)), ast.parse(path.read_text(encoding="utf-8"))


def nodes(tree: ast.Module, kind: type[ast.AST]) -> Iterator[ast.AST]:
    return (node for node in ast.walk(tree) if isinstance(node, kind))


def catches_cancellation(handler: ast.ExceptHandler) -> bool:
    caught = "" if handler.type is None else ast.unparse(handler.type)
    return handler.type is None or any(
        word in ("BaseException", "trio.Cancelled", "Cancelled") for word in caught.strip("()").split(", ")
    )


def raises(handler: ast.ExceptHandler) -> bool:
    return any(isinstance(node, ast.Raise) for node in ast.walk(handler))


def test_whoever_catches_cancellation_raises_it_again_p5() -> None:
    swallowed = [
        f"{name}:{handler.lineno}"
        for name, tree in modules()
        for handler in nodes(tree, ast.ExceptHandler)
        if isinstance(handler, ast.ExceptHandler) and catches_cancellation(handler) and not raises(handler)
    ]
    assert {place.partition(":")[0] for place in swallowed} == set(KEEPS_EVERYTHING), swallowed


def thread_calls() -> Iterator[tuple[str, dict[str | None, ast.expr]]]:
    for name, tree in modules():
        for call in nodes(tree, ast.Call):
            if isinstance(call, ast.Call) and ast.unparse(call.func).endswith("to_thread.run_sync"):
                yield name, {word.arg: word.value for word in call.keywords}


def test_nothing_shares_the_default_limit_of_threads_p7() -> None:
    """Forty one-second jobs in it, and a look-up of a name waits a second too."""
    assert [name for name, words in thread_calls() if "limiter" not in words] == []


def test_only_what_has_no_effect_is_abandoned_in_a_thread_p8() -> None:
    abandoned = {name for name, words in thread_calls() if "abandon_on_cancel" in words}
    assert abandoned == set(ABANDONS)


def test_streams_that_never_block_are_for_tests_p12() -> None:
    used = {
        name
        for name, tree in modules()
        for node in ast.walk(tree)
        if (isinstance(node, ast.Attribute) and node.attr in ONLY_FOR_TESTS)
        or (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("trio.testing"))
        or (isinstance(node, ast.Import) and any(each.name == "trio.testing" for each in node.names))
    }
    assert used == set()
