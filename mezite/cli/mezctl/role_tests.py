# SPDX-License-Identifier: Apache-2.0
"""Files of assertions beside role files: who must and who must not reach something."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from mezite.cli.mezctl.role_file import Lines, load_document, load_role
from mezite.config.problems import ConfigProblems, Problem
from mezite.core.rbac.evaluator import AppRequest, NodeRequest, evaluate
from mezite.core.rbac.roles import BUILT_IN_ROLES, Role

__all__ = ["RoleTest", "RoleTestResult", "load_role_tests"]

_TOP = ("kind", "version", "role_files", "tests")
_TEST = ("name", "roles", "traits", "claims", "node_labels", "app_labels", "login", "expect")


@attrs.frozen(kw_only=True)
class RoleTestResult:
    """How one assertion came out."""

    name: str
    passed: bool
    reason: str


@attrs.frozen(kw_only=True)
class RoleTest:
    """One assertion."""

    name: str
    roles: tuple[Role, ...]
    request: NodeRequest | AppRequest
    allowed: bool

    def run(self) -> RoleTestResult:
        """Decide and compare."""
        decision = evaluate(self.roles, self.request)
        return RoleTestResult(name=self.name, passed=decision.allowed is self.allowed, reason=decision.reason)


def load_role_tests(path: Path) -> list[RoleTest]:
    """Return the tests of a file; the role files that it names stand beside it.

    :raises ConfigProblems: everything that is wrong with it, or with a role file.
    :raises OSError: a file cannot be read.
    """
    document, lines = load_document(path)
    reader = _Reader(str(path), lines)
    top = reader.mapping(document, "", _TOP)
    for key, wanted in (("kind", "role_test"), ("version", "v1")):
        if top.get(key) != wanted:
            reader.refuse(key, f"expected {wanted}", f"write {key}: {wanted}")
    known = dict(BUILT_IN_ROLES)
    for name in reader.texts(top.get("role_files"), "role_files"):
        role = load_role(path.parent / name)
        known[role.name] = role
    entries = top.get("tests")
    if not isinstance(entries, list) or not entries:
        reader.refuse("tests", "expected a list of tests")
        entries = []
    tests = [reader.test(entry, f"tests[{number}]", known) for number, entry in enumerate(entries)]
    if reader.problems:
        raise ConfigProblems(reader.problems)
    return tests


class _Reader:
    def __init__(self, file: str, lines: Lines) -> None:
        self._file = file
        self._lines = lines
        self.problems: list[Problem] = []

    def refuse(self, key: str, why: str, hint: str = "") -> None:
        line = self._lines.get(key) or self._lines.get(key.rpartition(".")[0], 1)
        self.problems.append(Problem(file=self._file, line=line, key=key, why=why, hint=hint))

    def mapping(self, value: object, path: str, known: tuple[str, ...] = ()) -> dict[str, Any]:
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self.refuse(path, "expected keys and values", "write key: value")
            return {}
        for key in value:
            if known and key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known here are {', '.join(known)}"
                self.refuse(f"{path}.{key}" if path else key, "unknown key", hint)
        return dict(value)

    def texts(self, value: object, path: str) -> list[str]:
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.refuse(path, "expected a list of texts", "write [a, b]")
            return []
        return value

    def test(self, value: object, path: str, known: Mapping[str, Role]) -> RoleTest:
        entry = self.mapping(value, path, _TEST)
        roles = []
        for name in self.texts(entry.get("roles"), f"{path}.roles"):
            if name in known:
                roles.append(known[name])
            else:
                near = difflib.get_close_matches(name, known, n=1)
                hint = f"did you mean {near[0]}?" if near else "list its file under role_files"
                self.refuse(f"{path}.roles", f"no role {name!r}", hint)
        if entry.get("expect") not in ("allow", "deny"):
            self.refuse(f"{path}.expect", "expected allow or deny")
        return RoleTest(
            name=str(entry.get("name") or path),
            roles=tuple(roles),
            request=self.request(entry, path),
            allowed=entry.get("expect") == "allow",
        )

    def request(self, entry: Mapping[str, Any], path: str) -> NodeRequest | AppRequest:
        node, app = "node_labels" in entry, "app_labels" in entry
        if node == app or node != bool(entry.get("login")):
            self.refuse(path, "expected node_labels and login, or app_labels alone")
        if app:
            return AppRequest(labels=self.labels(entry["app_labels"], f"{path}.app_labels"))
        return NodeRequest(
            labels=self.labels(entry.get("node_labels"), f"{path}.node_labels"),
            login=str(entry.get("login", "")),
            traits=self.values(entry.get("traits"), f"{path}.traits"),
            claims=self.values(entry.get("claims"), f"{path}.claims"),
        )

    def labels(self, value: object, path: str) -> dict[str, str]:
        labels = self.mapping(value, path)
        for key, text in labels.items():
            if not isinstance(text, str):
                self.refuse(f"{path}.{key}", "expected text", 'an empty value is ""')
        return labels

    def values(self, value: object, path: str) -> dict[str, list[str]]:
        return {key: self.texts(entry, f"{path}.{key}") for key, entry in self.mapping(value, path).items()}
