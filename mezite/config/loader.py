# SPDX-License-Identifier: Apache-2.0
"""Defaults < file < environment, with every problem reported at once.

This is the only place that reads ``MEZITE_*`` settings of the daemons.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import attrs

from mezite.config.checks import AGENT_CHECKS, HUB_CHECKS, Check
from mezite.config.keys import Key, fields_of, walk
from mezite.config.kinds import HostPort
from mezite.config.problems import BadValue, ConfigProblems, Problem
from mezite.config.schema import AgentConfig, HubConfig
from mezite.config.yaml_document import MapNode, Node, Place, Scalar, Tag, read_document

__all__ = ["load_agent_config", "load_hub_config"]

_Config = TypeVar("_Config", HubConfig, AgentConfig)


def load_hub_config(path: str | Path | None, environ: Mapping[str, str]) -> HubConfig:
    """Read the hub's configuration.

    :param path: YAML file; None for defaults and environment only.
    :raises ConfigProblems: everything that is wrong, at once.
    """
    return _load(HubConfig, path, environ, HUB_CHECKS)


def load_agent_config(path: str | Path | None, environ: Mapping[str, str]) -> AgentConfig:
    """Read the agent's configuration; addresses come back complete with their ports.

    :param path: YAML file; None for defaults and environment only.
    :raises ConfigProblems: everything that is wrong, at once.
    """
    config = _load(AgentConfig, path, environ, AGENT_CHECKS)
    if config.auth_addr:
        return config
    host = config.proxy_addr.removeprefix("https://").rpartition(":")[0].strip("[]")
    return attrs.evolve(config, auth_addr=str(HostPort(host, 3025)))


@attrs.define(eq=False)
class _Draft:
    """Values read so far, where each stands, and what is wrong."""

    file: str
    values: dict[str, Any] = attrs.field(factory=dict)
    places: dict[str, Place] = attrs.field(factory=dict)
    failed: set[str] = attrs.field(factory=set)
    problems: list[Problem] = attrs.field(factory=list)

    def take(self, key: Key, node: Node, place: Place) -> None:
        """Read one value; a later call for the same key wins, as environment over file does."""
        self.places[key.path] = place
        try:
            self.values[key.path] = key.kind.read(node)
        except BadValue as error:
            self.failed.add(key.path)
            self.refuse(place, key.path, error.why, error.hint)

    def place_of(self, *paths: str) -> Place:
        """Return where the first of ``paths`` that was set stands: a missing key is missed by another one."""
        return next((self.places[path] for path in paths if path in self.places), Place(self.file, None))

    def refuse(self, place: Place, path: str, why: str, hint: str = "") -> None:
        self.problems.append(Problem(file=place.file, line=place.line, key=path, why=why, hint=hint))


def _load(
    config_class: type[_Config], path: str | Path | None, environ: Mapping[str, str], checks: Iterable[Check]
) -> _Config:
    draft = _Draft(file=str(path) if path is not None else "configuration")
    if path is not None:
        document = _read_file(Path(path), draft)
        if document is not None:
            _read_section(config_class, document, "", draft)
    _read_environment(config_class, environ, draft)
    config: _Config = _build(config_class, "", draft.values)
    for check in checks:
        # A check that needs a value which could not be read would only repeat that news in other words.
        if draft.failed.isdisjoint(check.needs):
            for path_of_key, why, hint in check.find(config, frozenset(draft.values)):
                draft.refuse(draft.place_of(path_of_key, *check.needs), path_of_key, why, hint)
    if draft.problems:
        raise ConfigProblems(draft.problems)
    return config


def _read_file(path: Path, draft: _Draft) -> MapNode | None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        draft.problems.append(Problem(file=str(path), why="no such file"))
        return None
    except OSError as error:
        draft.problems.append(Problem(file=str(path), why=f"cannot be read: {error.strerror}"))
        return None
    document, problems = read_document(data, str(path))
    draft.problems.extend(problems)
    return document


def _read_section(config_class: type, node: MapNode, prefix: str, draft: _Draft) -> None:
    members = fields_of(config_class, prefix)
    for name, entry in node.entries.items():
        member = members.get(name)
        empty = isinstance(entry.node, Scalar) and entry.node.tag is Tag.EMPTY
        if member is None:
            draft.refuse(entry.place, prefix + name, *_unknown(name, prefix, members, draft.file))
        elif empty:
            continue  # `key:` with nothing behind it is how people write "not set"
        elif isinstance(member, Key):
            draft.take(member, entry.node, entry.place)
        elif isinstance(entry.node, MapNode):
            _read_section(member[0], entry.node, f"{prefix}{name}.", draft)
        else:
            draft.refuse(
                entry.place, prefix + name, "expected nested keys", f"for example {_first_key(member[0])}: …"
            )


def _first_key(config_class: type) -> str:
    return next(iter(fields_of(config_class)))


def _unknown(name: str, prefix: str, members: Mapping[str, object], file: str) -> tuple[str, str]:
    """Return why and hint for an unknown key: the nearest sibling, else the same word elsewhere."""
    near = difflib.get_close_matches(name, members, n=1, cutoff=0.6)
    if near:
        return "unknown key", f"did you mean {prefix}{near[0]}?"
    everywhere = {key.path for config_class in (HubConfig, AgentConfig) for key in walk(config_class)}
    if prefix + name in everywhere:
        return "unknown key", "nest it: one line for each word before the dots"
    elsewhere = sorted(path for path in everywhere if path.rpartition(".")[2] == name)
    if elsewhere:
        return "unknown key", f"did you mean {elsewhere[0]}?"
    return "unknown key", f"known here are {', '.join(members)}"


def _read_environment(config_class: type, environ: Mapping[str, str], draft: _Draft) -> None:
    for key in walk(config_class):
        given = [(name, environ[name]) for name in key.environment if environ.get(name)]
        if not given:
            continue
        name, text = given[0]
        place = Place("environment", None)
        if any(other != text for _, other in given[1:]):
            names = " and ".join(variable for variable, _ in given)
            draft.failed.add(key.path)
            draft.refuse(place, names, "these variables set one key to different values", "keep one of them")
            continue
        # The environment replaces the file's value: a mistake there is still reported, but hides no check.
        draft.failed.discard(key.path)
        before = len(draft.problems)
        draft.take(key, Scalar(text, Tag.UNTYPED, place), place)
        for position in range(before, len(draft.problems)):
            draft.problems[position] = attrs.evolve(draft.problems[position], key=f"{name} ({key.path})")


def _build(config_class: type[Any], prefix: str, values: Mapping[str, Any]) -> Any:
    arguments: dict[str, Any] = {}
    for name, member in fields_of(config_class, prefix).items():
        if not isinstance(member, Key):
            arguments[name] = _build(member[0], f"{prefix}{name}.", values)
        elif member.path in values:
            arguments[name] = values[member.path]
    return config_class(**arguments)
