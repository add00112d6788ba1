# SPDX-License-Identifier: Apache-2.0
"""`mezctl connectors` against a hub."""

from __future__ import annotations

from pathlib import Path

import yaml

from tests.cli.commands import HubInThread

CONNECTOR = """\
kind: oidc
version: v1
metadata: {name: keycloak}
spec:
  issuer: https://login.example.com/realms/main
  client_id: mezite
  client_secret: s3cret
  claims_to_roles:
    - {claim: groups, value: platform, roles: [access]}
"""


def written(folder: Path, text: str, name: str = "connector.yaml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return f"--from-file={path}"


def test_a_connector_from_file_to_deletion(hub: HubInThread, tmp_path: Path) -> None:
    file = written(tmp_path, CONNECTOR)
    created = hub.mezctl("connectors", "create", file)
    assert created.out == "connector keycloak created\n"
    assert "/v1/webapi/oidc/callback" in created.err
    assert hub.mezctl("connectors", "create", file, "--format=json").json["created"] is False
    (row,) = hub.mezctl("connectors", "ls", "--format=json").json
    assert (row["name"], row["kind"], row["has_secret"]) == ("keycloak", "oidc", True)
    assert row["issuer"] == "https://login.example.com/realms/main"
    assert "keycloak" in hub.mezctl("connectors", "list").out
    text = hub.mezctl("connectors", "get", "keycloak").out
    assert "s3cret" not in text
    assert yaml.safe_load(text) == hub.mezctl("connectors", "get", "keycloak", "--format=json").json
    again = written(tmp_path, text, "again.yaml")
    assert hub.mezctl("connectors", "create", again, "--format=json").json["has_secret"] is True
    assert hub.mezctl("connectors", "rm", "keycloak").out == "connector keycloak deleted\n"
    assert "connector keycloak does not exist" in hub.mezctl("connectors", "delete", "keycloak").err


def test_every_problem_with_its_line(hub: HubInThread, tmp_path: Path) -> None:
    text = CONNECTOR.replace("issuer: https", "isuer: http").replace("[access]", "[Access]")
    refused = hub.mezctl("connectors", "create", written(tmp_path, text))
    assert (refused.code, refused.out) == (2, "")
    path = tmp_path / "connector.yaml"
    lines = refused.err.splitlines()
    assert lines[0] == f"error: {path}:4: spec.issuer: is missing"
    assert lines[1] == f"error: {path}:5: spec.isuer: unknown key; did you mean issuer?"
    assert lines[2].startswith(f"error: {path}:9: spec.claims_to_roles[0].roles[0]: role name 'Access'")
    assert len(lines) == 3
    assert hub.mezctl("connectors", "ls", "--format=json").json == []


def test_a_secret_in_a_file_of_its_own(hub: HubInThread, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\r\n", encoding="utf-8")
    named = CONNECTOR.replace("client_secret: s3cret", f"client_secret_file: {secret}")
    created = hub.mezctl("connectors", "create", written(tmp_path, named), "--format=json")
    assert created.json["has_secret"] is True
    assert hub.mezctl("connectors", "rm", "keycloak").code == 0
    for text, why in (
        (CONNECTOR + f"  client_secret_file: {secret}\n", "stands beside client_secret"),
        (named.replace(str(secret), "[]"), "expected the path of a file"),
        (named.replace(str(secret), str(tmp_path / "none")), "No such file"),
        ("- a", "expected keys and values"),
        ("spec: x", "expected oidc or github"),
    ):
        refused = hub.mezctl("connectors", "create", written(tmp_path, text))
        assert (refused.code, why in refused.err) == (2, True), refused.err
    secret.write_bytes(b"\xff")
    assert "it is not text" in hub.mezctl("connectors", "create", written(tmp_path, named)).err
