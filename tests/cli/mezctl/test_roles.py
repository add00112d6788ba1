# SPDX-License-Identifier: Apache-2.0
"""`mezctl roles` and `mezctl access` against a hub."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from mezite.api.pb.mezite.v1 import roles_pb2 as pb
from mezite.cli.mezctl.roles import print_difference
from mezite.cli.terminal.output import OutputFormat
from tests.cli.commands import HubInThread, run

DEVELOPER = """\
kind: role
version: v1
metadata:
  name: {name}
  description: Developers
spec:
  options:
    require_session_mfa: off
    max_session_ttl: 8h
    port_forwarding: false
  allow:
    node_labels: {{env: ["prod", "^d.*$"]}}
    logins: [{logins}]
  deny:
    logins: [root]
"""


def role_file(folder: Path, name: str, logins: str = "ubuntu") -> str:
    path = folder / f"{name}.yaml"
    path.write_text(DEVELOPER.format(name=name, logins=logins), encoding="utf-8")
    return f"--from-file={path}"


@pytest.fixture(scope="module")
def node(hub: HubInThread) -> str:
    hub.do(hub.hub.enroll, "roles-node")
    return "roles-node"


def test_a_role_from_file_to_deletion(hub: HubInThread, tmp_path: Path, node: str) -> None:
    file = role_file(tmp_path, "dev")
    assert hub.mezctl("roles", "create", file).out == "role dev created\n"
    assert hub.mezctl("roles", "create", file).out == "role dev updated\n"
    created = hub.mezctl("roles", "create", file, "--format=json").json
    assert (created["name"], created["created"], created["built_in"]) == ("dev", False, False)
    for word in ("ls", "list"):
        rows = {row["name"]: row for row in hub.mezctl("roles", word, "--format=json").json}
        assert set(rows) >= {"access", "admin", "auditor", "node", "dev"}
        assert list(rows["dev"]) == ["name", "built_in", "description", "created_at", "updated_at", "spec"]
        assert (rows["admin"]["built_in"], rows["admin"]["created_at"]) == (True, None)
    assert "Developers" in hub.mezctl("roles", "ls").out
    text = hub.mezctl("roles", "get", "dev").out
    document = yaml.safe_load(text)
    assert document["spec"]["options"]["max_session_ttl"] == "8h"
    assert document["spec"]["options"]["port_forwarding"] is False
    (tmp_path / "again.yaml").write_text(text, encoding="utf-8")
    assert hub.mezctl("roles", "create", f"--from-file={tmp_path / 'again.yaml'}").out == "role dev updated\n"
    assert hub.mezctl("roles", "get", "dev").out == text
    assert hub.mezctl("roles", "get", "dev", "--format=json").json == document
    assert hub.mezctl("users", "create", "rolf", "--roles=dev").code == 0
    refused = hub.mezctl("roles", "rm", "dev")
    assert (refused.code, refused.out) == (1, "")
    assert "cannot be deleted: rolf have it" in refused.err
    assert hub.mezctl("users", "delete", "rolf").code == 0
    assert hub.mezctl("roles", "delete", "dev").out == "role dev deleted\n"
    assert "role dev does not exist" in hub.mezctl("roles", "get", "dev").err
    assert "built in" in hub.mezctl("roles", "delete", "admin").err


def test_a_dry_run_prints_pairs_and_changes_nothing(hub: HubInThread, tmp_path: Path, node: str) -> None:
    everywhere = DEVELOPER.replace('{{env: ["prod", "^d.*$"]}}', '{{"*": "*"}}')
    path = tmp_path / "trial.yaml"
    file = f"--from-file={path}"
    path.write_text(everywhere.format(name="trial", logins="ubuntu"))
    dry = hub.mezctl("roles", "create", file, "--dry-run")
    assert dry.out == "role trial would be created: 0 gained, 0 lost\n"
    assert hub.mezctl("roles", "get", "trial").code == 1
    assert hub.mezctl("roles", "create", file).code == 0
    assert hub.mezctl("users", "create", "tina", "--roles=trial").code == 0
    path.write_text(path.read_text().replace("[ubuntu]", "[deploy]"))
    lines = hub.mezctl("roles", "create", file, "--dry-run").out.splitlines()
    assert lines[0].startswith("role trial would be updated: ")
    assert f"+ tina as deploy on {node}" in lines
    assert f"- tina as ubuntu on {node}" in lines
    answer = hub.mezctl("roles", "create", file, "--dry-run", "--format=json").json
    assert {"user": "tina", "node": node, "login": "deploy"} in answer["gained"]
    assert answer["gained_count"] == len(answer["gained"]) == answer["lost_count"]
    many = ", ".join(f"u{number}" for number in range(256))
    for name in ("tim", "tom", "tam"):
        assert hub.mezctl("users", "create", name, "--roles=trial").code == 0
    path.write_text(path.read_text().replace("[deploy]", f"[{many}]"))
    last = hub.mezctl("roles", "create", file, "--dry-run").out.splitlines()
    count = hub.mezctl("roles", "create", file, "--dry-run", "--format=json").json["gained_count"]
    assert f"+ and {count - 1000} more" in last


def test_past_accesses_in_a_dry_run(
    hub: HubInThread, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "replayed.yaml"
    path.write_text(DEVELOPER.format(name="replayed", logins="ubuntu"))
    file = f"--from-file={path}"
    refused = hub.mezctl("roles", "create", file, "--replay-days=7")
    assert (refused.code, "needs --dry-run" in refused.err) == (2, True)
    lines = hub.mezctl("roles", "create", file, "--dry-run", "--replay-days=7").out.splitlines()
    assert re.fullmatch(r"\d+ accesses since [-0-9T:.]+Z: none would be refused", lines[1])
    answer = hub.mezctl("roles", "create", file, "--dry-run", "--replay-days=7", "--format=json").json
    assert (answer["refused"], answer["replayed_since"].endswith("Z")) == ([], True)
    some = pb.RefusedAccess(user="ann", node="web-1", login="root", count=12, last_at_ms=1_790_000_000_000)
    said = pb.PutRoleResponse(replayed_count=40, replayed_since_ms=1, refused=[some])
    print_difference(said, "updated", OutputFormat.TEXT)
    assert capsys.readouterr().out.splitlines()[1:] == [
        "40 accesses since 1970-01-01T00:00:00.001Z: 12 would be refused",
        "! ann as root on web-1: 12 times, last at 2026-09-21T14:13:20.000Z",
    ]


def test_every_problem_of_a_file_with_its_line(hub: HubInThread, tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(
        "kind: role\nversion: v1\nmetadata: {name: bad}\nspec:\n  allows: {}\n  allow:\n"
        "    node_labels:\n      team: ^eng-($\n      env: []\n    logins: [ok, '{{internal}}']\n"
        "  options:\n    file_copy: maybe\n    port_forwardin: true\n",
        encoding="utf-8",
    )
    result = hub.mezctl("roles", "create", f"--from-file={path}")
    assert (result.code, result.out) == (2, "")
    starts = [
        f"error: {path}:5: spec.allows: unknown key; did you mean allow?",
        f"error: {path}:8: spec.allow.node_labels.team: label 'team': '^eng-($' is not a regular expression: ",
        f"error: {path}:9: spec.allow.node_labels.env: label key 'env' or its list of values is empty",
        f"error: {path}:10: spec.allow.logins[1]: login '{{{{internal}}}}' is not a template such as ",
        f"error: {path}:12: spec.options.file_copy: expected true or false",
        f"error: {path}:13: spec.options.port_forwardin: unknown key; did you mean port_forwarding?",
    ]
    lines = result.err.splitlines()
    assert len(lines) == len(starts)
    for line, start in zip(lines, starts, strict=True):
        assert line.startswith(start)
    assert "role bad does not exist" in hub.mezctl("roles", "get", "bad").err


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "kind: expected role; write kind: role"),
        ("a: [", "not valid YAML"),
        ("- a\n", "expected keys and values at the top level"),
        ("kind: role\nkind: role\n", "given twice, first on line 1"),
    ],
)
def test_files_that_are_no_role_files(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text, encoding="utf-8")
    result = run("mezctl", "roles", "create", f"--from-file={path}")
    assert result.code == 2
    assert why in result.err


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    result = run("mezctl", "roles", "create", f"--from-file={tmp_path / 'none'}")
    assert result.code == 1
    assert "No such file" in result.err


def test_what_the_hub_refuses(hub: HubInThread, tmp_path: Path) -> None:
    path = tmp_path / "recorded.yaml"
    file = role_file(tmp_path, "recorded")
    path.write_text(
        path.read_text().replace("require_session_mfa: off", "record_session: node"), encoding="utf-8"
    )
    result = hub.mezctl("roles", "create", file)
    assert result.code == 1
    assert "this version does not enforce it yet" in result.err


# --- access explain ------------------------------------------------------------------------------------------------


def test_explain(hub: HubInThread, node: str) -> None:
    arguments = ("access", "explain", "--user=root", f"--node={node}")
    answer = hub.mezctl(*arguments, "--login=ubuntu", "--format=json").json
    keys = ["allowed", "reason", "role", "rule", "labels", "logins", "would_flip", "decision_id"]
    assert list(answer) == keys
    assert (answer["allowed"], answer["role"], answer["rule"]) == (True, "admin", "allow.logins")
    assert answer["logins"] == {"{{internal.logins}}": ["ubuntu"]}
    assert answer["would_flip"] == "take role admin from the user and take role access from the user"
    denied = hub.mezctl(*arguments, "--login=postgres")
    assert denied.code == 0
    assert "allowed:" in denied.out
    assert "add postgres to allow.logins of role admin" in denied.out
    unknown = hub.mezctl("access", "explain", "--user=nobody", f"--node={node}", "--login=x")
    assert unknown.code == 1
    assert "user nobody does not exist" in unknown.err


# --- roles test --------------------------------------------------------------------------------------------------

TESTS = """\
kind: role_test
version: v1
role_files: [dev.yaml]
tests:
  - name: production is open
    roles: [dev]
    node_labels: {env: prod}
    login: ubuntu
    expect: allow
  - roles: [dev, access]
    node_labels: {env: prod}
    traits: {logins: [root]}
    login: root
    expect: deny
  - name: applications
    roles: [access]
    app_labels: {}
    expect: allow
"""


def test_assertions_beside_a_role(tmp_path: Path) -> None:
    role_file(tmp_path, "dev")
    path = tmp_path / "tests.yaml"
    path.write_text(TESTS, encoding="utf-8")
    result = run("mezctl", "roles", "test", f"--from-file={path}")
    assert (result.code, result.err) == (0, "")
    assert result.out.splitlines() == [
        "ok: production is open: role dev allows it",
        "ok: tests[1]: role dev denies the login 'root'",
        "ok: applications: role access allows it",
    ]
    path.write_text(TESTS.replace("login: ubuntu", "login: deploy"), encoding="utf-8")
    result = run("mezctl", "roles", "test", f"--from-file={path}", "--format=json")
    assert result.code == 1
    assert [row["passed"] for row in result.json] == [False, True, True]
    assert result.err == f"error: {path}: 1 of 3 tests failed; change the role or the test\n"
    assert "FAILED: production is open" in run("mezctl", "roles", "test", f"--from-file={path}").out


def test_problems_of_a_test_file(tmp_path: Path) -> None:
    role_file(tmp_path, "dev")
    path = tmp_path / "tests.yaml"
    text = (
        "kind: roletest\nversion: v1\nrole_files: dev.yaml\ntests:\n  - roles: [accessx]\n    expects: allow\n"
        "    login: x\n    node_labels: {env: [a]}\n  - just text\n  - roles: [zzz]\n    node_labels: []\n"
        "    login: x\n    expect: deny\n"
    )
    path.write_text(text, encoding="utf-8")
    result = run("mezctl", "roles", "test", f"--from-file={path}")
    assert result.code == 2
    assert [line.removeprefix(f"error: {path}:") for line in result.err.splitlines()] == [
        "1: kind: expected role_test; write kind: role_test",
        "3: role_files: expected a list of texts; write [a, b]",
        "5: tests[0].roles: no role 'accessx'; did you mean access?",
        "5: tests[0].expect: expected allow or deny",
        "6: tests[0].expects: unknown key; did you mean expect?",
        '8: tests[0].node_labels.env: expected text; an empty value is ""',
        "9: tests[1]: expected keys and values; write key: value",
        "9: tests[1].expect: expected allow or deny",
        "9: tests[1]: expected node_labels and login, or app_labels alone",
        "10: tests[2].roles: no role 'zzz'; list its file under role_files",
        "11: tests[2].node_labels: expected keys and values; write key: value",
    ]
    path.write_text("kind: role_test\nversion: v1\nzzz: 1\n", encoding="utf-8")
    result = run("mezctl", "roles", "test", f"--from-file={path}")
    assert "zzz: unknown key; known here are kind, version, role_files, tests" in result.err
    assert "tests: expected a list of tests" in result.err
