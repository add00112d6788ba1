# SPDX-License-Identifier: Apache-2.0
"""Connector files: YAML with one connector, every problem with its line."""

from __future__ import annotations

from pathlib import Path

from mezite.cli.mezctl.role_file import line_of, load_document
from mezite.config.problems import ConfigProblems, Problem
from mezite.core.oidc.connector import Connector
from mezite.core.oidc.connector_document import ConnectorProblem, ConnectorProblems, parse_connector

__all__ = ["load_connector"]

_FROM_FILE = "client_secret_file"


def load_connector(path: Path) -> Connector:
    """Return the connector of a file. `spec.client_secret_file` names a file with the client secret, from here.

    :raises ConfigProblems: everything that is wrong, at once. :raises OSError: a file cannot be read.
    """
    document, lines = load_document(path)
    problems: list[ConnectorProblem] = []
    _insert_secret(document, problems)
    try:
        connector = parse_connector(document)
    except ConnectorProblems as refused:
        problems += refused.problems
    if problems:
        raise ConfigProblems(
            Problem(file=str(path), line=line_of(lines, each.key), key=each.key, why=each.why, hint=each.hint)
            for each in problems
        )
    return connector


def _insert_secret(document: object, problems: list[ConnectorProblem]) -> None:
    spec = document.get("spec") if isinstance(document, dict) else None
    if not isinstance(spec, dict) or _FROM_FILE not in spec:
        return
    key, named = f"spec.{_FROM_FILE}", spec.pop(_FROM_FILE)
    if "client_secret" in spec:
        problems.append(ConnectorProblem(key=key, why="stands beside client_secret", hint="keep one of them"))
        return
    if not isinstance(named, str) or not named:
        problems.append(ConnectorProblem(key=key, why="expected the path of a file"))
        return
    try:
        # One line; what an editor puts behind it is no part of the secret.
        spec["client_secret"] = Path(named).read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else "it is not text"
        problems.append(ConnectorProblem(key=key, why=f"{named}: {why}"))
