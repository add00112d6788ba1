# SPDX-License-Identifier: Apache-2.0
"""YAML text to a tree that remembers lines, under limits.

The values stay text here: which of them are numbers or switches is the schema's business, so that YAML's own
ideas (``off`` is false, ``12:30`` is 750) cannot change what the user wrote. Nothing is constructed from
tags, and aliases are refused: a few lines of them can unfold to gigabytes (P21).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TypeAlias

import attrs
import yaml

from mezite.config.problems import Problem

__all__ = ["Entry", "ListNode", "MapNode", "Node", "Place", "Scalar", "Tag", "read_document"]

# The commented example is under 10 KiB; a file a hundred times larger is not a configuration.
MAX_BYTES = 1024 * 1024
# The schema is four levels deep.
MAX_DEPTH = 32

_TAG_PREFIX = "tag:yaml.org,2002:"


class Tag(enum.Enum):
    """What a plain scalar looks like to YAML; quoted ones are always TEXT."""

    TEXT = "text"
    NUMBER = "a number"
    BOOLEAN = "a switch"
    EMPTY = "nothing"
    UNTYPED = "text from the environment"


@attrs.frozen
class Place:
    """Where a value was written."""

    file: str
    line: int | None


@attrs.frozen
class Scalar:
    """One value as written."""

    text: str
    tag: Tag
    place: Place


@attrs.frozen
class ListNode:
    """A sequence."""

    items: tuple[Node, ...]
    place: Place


@attrs.frozen
class Entry:
    """A key's value and where the key stands."""

    node: Node
    place: Place


@attrs.frozen
class MapNode:
    """A mapping; keys are text."""

    entries: Mapping[str, Entry]
    place: Place


Node: TypeAlias = Scalar | ListNode | MapNode

_SCALAR_TAGS = {
    "int": Tag.NUMBER,
    "float": Tag.NUMBER,
    "bool": Tag.BOOLEAN,
    "null": Tag.EMPTY,
    "str": Tag.TEXT,
    "timestamp": Tag.TEXT,
    "merge": Tag.TEXT,
    "value": Tag.TEXT,
}


class _Refused(yaml.MarkedYAMLError):
    """A legal YAML feature that a configuration may not use."""


class _Composer(yaml.SafeLoader):
    """PyYAML's composer without aliases and with a depth limit."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise _Refused(problem="anchors and aliases are not allowed here", problem_mark=event.start_mark)
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise _Refused(problem=f"nested deeper than {MAX_DEPTH} levels", problem_mark=event.start_mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def read_document(data: bytes, file: str) -> tuple[MapNode | None, list[Problem]]:
    """Return the tree of ``data`` and what is wrong with its form.

    :param file: the name that places and problems carry.
    :return: the mapping (None for an empty file, or one that is no YAML mapping at all) and the problems.
    """
    if len(data) > MAX_BYTES:
        return None, [Problem(file=file, why=f"larger than {MAX_BYTES // 1024} KiB")]
    try:
        root = _compose(data)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark is not None else None
        if error.context == "expected a single document in the stream":
            return None, [
                Problem(file=file, line=line, why="a second document begins here; write a file for each")
            ]
        return None, [Problem(file=file, line=line, why=f"not valid YAML: {error.problem}")]
    except yaml.YAMLError as error:
        return None, [Problem(file=file, why=f"not valid YAML: {str(error).splitlines()[0]}")]
    if root is None:
        return None, []
    problems: list[Problem] = []
    tree = _convert(root, file, "", problems)
    if isinstance(tree, MapNode):
        return tree, problems
    if isinstance(tree, Scalar) and tree.tag is Tag.EMPTY:
        return None, problems
    return None, [
        Problem(file=file, line=1, why="expected keys and values at the top level", hint="write key: value")
    ]


def _compose(data: bytes) -> yaml.Node | None:
    composer = _Composer(data)
    try:
        return composer.get_single_node()
    finally:
        composer.dispose()


def _convert(node: yaml.Node, file: str, path: str, problems: list[Problem]) -> Node:
    place = Place(file, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        return MapNode(_convert_entries(node, file, path, problems), place)
    if isinstance(node, yaml.SequenceNode):
        items = tuple(_convert(item, file, f"{path}[{n}]", problems) for n, item in enumerate(node.value))
        return ListNode(items, place)
    tag = _SCALAR_TAGS.get(node.tag.removeprefix(_TAG_PREFIX))
    if tag is None:
        problems.append(
            Problem(file=file, line=place.line, key=path, why=f"tag {node.tag} is not allowed here")
        )
        tag = Tag.TEXT
    return Scalar(node.value, tag, place)


def _convert_entries(
    node: yaml.MappingNode, file: str, path: str, problems: list[Problem]
) -> dict[str, Entry]:
    entries: dict[str, Entry] = {}
    for key_node, value_node in node.value:
        line = key_node.start_mark.line + 1
        if not isinstance(key_node, yaml.ScalarNode):
            problems.append(Problem(file=file, line=line, key=path, why="a key must be a single word"))
            continue
        name = key_node.value
        where = f"{path}.{name}" if path else name
        if name in entries:
            first = entries[name].place.line
            problems.append(
                Problem(file=file, line=line, key=where, why=f"given twice, first on line {first}")
            )
            continue
        entries[name] = Entry(_convert(value_node, file, where, problems), Place(file, line))
    return entries
