# SPDX-License-Identifier: Apache-2.0
"""Role files: YAML with one role, every problem with its line."""

from __future__ import annotations

from pathlib import Path

from mezite.config.problems import ConfigProblems, Problem
from mezite.config.yaml_document import ListNode, MapNode, Node, Scalar, Tag, read_document
from mezite.core.rbac.role_document import RoleProblems, parse_role
from mezite.core.rbac.roles import Role

__all__ = ["Lines", "line_of", "load_document", "load_role"]

Lines = dict[str, int]
"""Lines by dotted path."""


def load_role(path: Path) -> Role:
    """Return the role of a file.

    :raises ConfigProblems: everything that is wrong, at once. :raises OSError: the file cannot be read.
    """
    document, lines = load_document(path)
    try:
        return parse_role(document)
    except RoleProblems as refused:
        raise ConfigProblems(
            Problem(file=str(path), line=line_of(lines, each.key), key=each.key, why=each.why, hint=each.hint)
            for each in refused.problems
        ) from None


def load_document(path: Path) -> tuple[object, Lines]:
    """Return a YAML file as plain data, scalars as they are written, and where each value stands.

    :raises ConfigProblems: it is not YAML. :raises OSError: the file cannot be read.
    """
    tree, problems = read_document(path.read_bytes(), str(path))
    if problems:
        raise ConfigProblems(problems)
    lines: Lines = {"": 1}
    return (None if tree is None else _plain(tree, "", lines)), lines


def _plain(node: Node, path: str, lines: Lines) -> object:
    if isinstance(node, Scalar):
        return None if node.tag is Tag.EMPTY else node.text
    if isinstance(node, ListNode):
        items: list[object] = []
        for number, item in enumerate(node.items):
            lines[f"{path}[{number}]"] = item.place.line or 1
            items.append(_plain(item, f"{path}[{number}]", lines))
        return items
    return _plain_map(node, path, lines)


def _plain_map(node: MapNode, path: str, lines: Lines) -> dict[str, object]:
    entries: dict[str, object] = {}
    for key, entry in node.entries.items():
        where = f"{path}.{key}" if path else key
        lines[where] = entry.place.line or 1
        entries[key] = _plain(entry.node, where, lines)
    return entries


def line_of(lines: Lines, key: str) -> int:
    """Where `key` stands; what is missing is missed in what would hold it."""
    while key not in lines:
        key = key.rpartition(".")[0]
    return lines[key]
