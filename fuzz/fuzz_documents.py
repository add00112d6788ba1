# SPDX-License-Identifier: Apache-2.0
"""Claim: any JSON is refused as a role and as a connector with at least one problem that can be printed, or is one
whose document reads back as the same.

Allowed exceptions: RoleProblems from ``parse_role``, ConnectorProblems from ``parse_connector``.
"""

import json
from collections.abc import Sequence

from mezite.core.oidc.connector_document import (
    ConnectorProblem,
    ConnectorProblems,
    connector_document,
    parse_connector,
)
from mezite.core.rbac.role_document import RoleProblem, RoleProblems, parse_role, role_document


def check(data: bytes) -> None:
    """JSON; what is none is taken as text in the place where a document has its ``spec``."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        text = data.decode("utf-8", "surrogateescape")
        document = {"kind": "role", "version": "v1", "metadata": {"name": "a"}, "spec": text}
    check_role(document)
    check_connector(document)


def check_role(document: object) -> None:
    try:
        role = parse_role(document)
    except RoleProblems as refused:
        check_problems(refused.problems)
        return
    assert parse_role(json.loads(json.dumps(role_document(role)))) == role


def check_connector(document: object) -> None:
    try:
        connector = parse_connector(document)
    except ConnectorProblems as refused:
        check_problems(refused.problems)
        return
    again = parse_connector(json.loads(json.dumps(connector_document(connector, secret=True))))
    assert connector_document(again, secret=True) == connector_document(connector, secret=True)
    assert "client_secret" not in str(connector_document(connector)) or not connector.client_secret.reveal()


def check_problems(problems: Sequence[RoleProblem | ConnectorProblem]) -> None:
    assert problems
    assert all(each.why for each in problems)
