# SPDX-License-Identifier: Apache-2.0
"""The house numbers: what grows past them wants to be cut, and says so here (CONTRIBUTING.md)."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GENERATED = ROOT / "mezite" / "api" / "pb"

MODULE_LINES = 400
FUNCTION_LINES = 50
CLASS_LINES = 300
CLASS_METHODS = 20
PARAMETERS = 6
KEYWORD_ONLY_BEYOND = 2
BANNED_NAMES = {"utils", "util", "common", "helpers", "helper", "misc", "base", "manager"}
LICENCE = "# SPDX-License-Identifier: Apache-2.0"

Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources(*folders: str) -> list[Path]:
    found = (path for folder in folders for path in sorted((ROOT / folder).rglob("*.py")))
    return [path for path in found if GENERATED not in path.parents]


PACKAGE = sources("mezite")
EVERYTHING = [*PACKAGE, *sources("tests", "fuzz", "bench", "examples")]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def body_lines(node: Function) -> int:
    """Lines from the first statement behind the docstring to the last one."""
    body = node.body[1:] if ast.get_docstring(node) is not None else node.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def findings_in(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, Function):
            if body_lines(node) > FUNCTION_LINES:
                yield f"function {node.name}: {body_lines(node)} lines, {FUNCTION_LINES} allowed"
            yield from parameter_findings(node)
        elif isinstance(node, ast.ClassDef):
            lines = node.end_lineno - node.lineno + 1
            methods = sum(isinstance(member, Function) for member in node.body)
            if lines > CLASS_LINES:
                yield f"class {node.name}: {lines} lines, {CLASS_LINES} allowed"
            if methods > CLASS_METHODS:
                yield f"class {node.name}: {methods} methods, {CLASS_METHODS} allowed"


def parameter_findings(node: Function) -> Iterator[str]:
    """Six parameters, and two keyword-only ones more; `self` and `cls` do not count."""
    positional = [argument.arg for argument in (*node.args.posonlyargs, *node.args.args)]
    if positional[:1] in (["self"], ["cls"]):
        positional = positional[1:]
    keyword_only = len(node.args.kwonlyargs)
    total = len(positional) + max(0, keyword_only - KEYWORD_ONLY_BEYOND)
    if total > PARAMETERS:
        counts = f"{len(positional)} + {keyword_only} keyword-only parameters"
        yield f"function {node.name}: {counts}, name an object for them"


@pytest.mark.parametrize("path", PACKAGE, ids=name_of)
def test_sizes(path):
    text = path.read_text(encoding="utf-8")
    findings = list(findings_in(ast.parse(text)))
    if len(text.splitlines()) > MODULE_LINES:
        findings.append(f"{len(text.splitlines())} lines, {MODULE_LINES} allowed")
    assert findings == []


def test_every_file_names_the_licence():
    assert [
        name_of(path) for path in EVERYTHING if not path.read_text(encoding="utf-8").startswith(LICENCE)
    ] == []


def test_no_module_is_named_for_nothing_in_particular():
    words = {path: set(path.stem.split("_")) for path in PACKAGE}
    assert [name_of(path) for path, parts in words.items() if parts & BANNED_NAMES] == []


def memory_channel_bounds(tree: ast.Module) -> Iterator[ast.expr | None]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        function = node.func.value if isinstance(node.func, ast.Subscript) else node.func
        name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
        if name == "open_memory_channel":
            named = [word.value for word in node.keywords if word.arg == "max_buffer_size"]
            yield (node.args or named or [None])[0]


def test_every_queue_is_bounded():
    """P11: the bound of a memory channel is a literal below 1024, or a name in capitals that is one."""
    loose = []
    for path in PACKAGE:
        tree = parse(path)
        constants = {
            target.id: node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        for bound in memory_channel_bounds(tree):
            value = (
                bound.value if isinstance(bound, ast.Constant) else constants.get(getattr(bound, "id", ""))
            )
            if not isinstance(value, int) or value >= 1024:
                loose.append(f"{name_of(path)}:{bound.lineno if bound else '?'}")
    assert loose == []


WIRE_PARSERS = (
    "mux",
    "grpc",
    "certificates",
    "proxy_protocol",
    "protocol_sniffer.py",
    "client_hello.py",
    "byte_buffer.py",
)
LENIENT = {
    "int",
    "strip",
    "lstrip",
    "rstrip",
    "splitlines",
    "isdigit",
    "isdecimal",
    "isnumeric",
    "isalnum",
    "isspace",
}
GRAMMAR = {"fullmatch", "timestamp"}


def called_name(node: ast.AST) -> str:
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def lenient_calls(tree: ast.Module) -> Iterator[ast.Call]:
    """`int(x)` and methods that take more than ASCII or eat odd spaces, where the function has no grammar."""
    for function in ast.walk(tree):
        if not isinstance(function, Function):
            continue
        calls = [node for node in ast.walk(function) if called_name(node)]
        if not any(called_name(node) in GRAMMAR for node in calls):
            # `strip(b" ")` says what it strips.
            yield from (node for node in calls if called_name(node) in LENIENT and not is_exact(node))


def is_exact(call: ast.Call) -> bool:
    return bool(call.args) != (called_name(call) == "int")


def test_wire_bytes_are_not_read_with_lenient_functions():
    """D2: a parser matches a grammar first; a line that need not says why behind `# D2:`."""
    loose = []
    for path in PACKAGE:
        if "core" not in path.parts or not set(path.parts) & set(WIRE_PARSERS):
            continue
        lines = path.read_text(encoding="utf-8").splitlines()
        for call in lenient_calls(parse(path)):
            if not any("# D2:" in line for line in lines[max(0, call.lineno - 2) : call.end_lineno]):
                loose.append(f"{name_of(path)}:{call.lineno}")
    assert loose == []
