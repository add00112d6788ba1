# SPDX-License-Identifier: Apache-2.0
import json

import attrs
import pytest

from mezite.core.rbac.label_matcher import NOTHING, LabelSelector
from mezite.core.rbac.role_document import RoleProblem, RoleProblems, parse_role, role_document
from mezite.core.rbac.role_options import RecordSession, RoleOptions, SessionMfa
from mezite.core.rbac.roles import BUILT_IN_ROLES, Conditions, Role

CONTRACT = {
    "kind": "role",
    "version": "v1",
    "metadata": {"name": "example-role", "description": "An example"},
    "spec": {
        "options": {
            "max_session_ttl": "12h",
            "require_session_mfa": "",
            "require_trusted_device": False,
            "port_forwarding": True,
            "file_copy": True,
            "agent_forwarding": True,
            "pin_source_ip": False,
            "record_session": "default",
            "idle_timeout": "0s",
            "max_connections": 0,
        },
        "allow": {
            "node_labels": {"env": ["staging", "development"], "team": "^eng-.*$"},
            "app_labels": {"env": ["prod", "staging"], "team": ["platform"]},
            "logins": ["ubuntu", "{{internal.logins}}", "{{external.username}}"],
            "request_roles": ["ssh-production"],
            "review_roles": ["ssh-production"],
            "request_resources": {"nodes": ["db-1"]},
        },
        "deny": {"node_labels": {"sensitivity": "restricted"}, "app_labels": {}, "logins": ["root"]},
    },
}


def minimal(spec=None, **top):
    return {"kind": "role", "version": "v1", "metadata": {"name": "r"}, "spec": spec, **top}


def problems(document):
    with pytest.raises(RoleProblems) as refused:
        parse_role(document)
    return [(each.key, each.why, each.hint) for each in refused.value.problems]


def test_the_role_of_the_contract():
    assert parse_role(CONTRACT) == Role(
        name="example-role",
        description="An example",
        allow=Conditions(
            node_labels=LabelSelector.parse({"env": ["staging", "development"], "team": "^eng-.*$"}),
            app_labels=LabelSelector.parse({"env": ["prod", "staging"], "team": "platform"}),
            logins=("ubuntu", "{{internal.logins}}", "{{external.username}}"),
            request_roles=("ssh-production",),
            review_roles=("ssh-production",),
            request_resources={"nodes": ("db-1",)},
        ),
        deny=Conditions(node_labels=LabelSelector.parse({"sensitivity": "restricted"}), logins=("root",)),
    )


@pytest.mark.parametrize("document", [CONTRACT, minimal(), *map(role_document, BUILT_IN_ROLES.values())])
def test_a_role_survives_its_document(document):
    role = parse_role(document)
    assert parse_role(json.loads(json.dumps(role_document(role)))) == role


def test_applications_that_are_denied_are_read():
    denied = parse_role(minimal({"deny": {"app_labels": {"env": "prod"}}})).deny
    assert denied == Conditions(app_labels=LabelSelector.parse({"env": "prod"}))
    assert problems(minimal({"deny": {"app_labels": 5}}))[0][0] == "spec.deny.app_labels"
    assert problems(minimal({"allow": {"app_labels": {"env": [5]}}}))[0][0] == "spec.allow.app_labels.env"


def test_what_is_missing_is_nothing():
    role = parse_role(minimal({"allow": None, "deny": {"logins": None, "node_labels": None}}))
    assert role == Role(name="r")
    assert role.deny.node_labels == NOTHING


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("max_session_ttl", "1h30m", 5400),
        ("idle_timeout", "90s", 90),
        ("max_connections", "5", 5),
        ("max_connections", 7, 7),
        ("request_approvals", "2", 2),
        ("port_forwarding", "false", False),
        ("port_forwarding", False, False),
        ("pin_source_ip", "true", True),
        ("require_session_mfa", "off", SessionMfa.NONE),
        ("require_session_mfa", "hardware-key", SessionMfa.HARDWARE_KEY),
        ("require_session_mfa", "hardware_key", SessionMfa.HARDWARE_KEY),
        ("require_session_mfa", "any", SessionMfa.ANY),
        ("record_session", "off", RecordSession.OFF),
        ("record_session", "node-sync", RecordSession.NODE_SYNC),
    ],
)
def test_options(key, value, expected):
    options = parse_role(minimal({"options": {key: value}})).options
    assert options == attrs.evolve(RoleOptions(), **{key: expected})
    assert parse_role(role_document(Role(name="r", options=options))).options == options


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("max_session_ttl", "12", "'12' is not a duration such as 90s, 30m, 12h or 1h30m; did you mean 12s?"),
        ("max_session_ttl", 12, "'12' is not a duration such as 90s, 30m, 12h or 1h30m; did you mean 12s?"),
        ("max_session_ttl", "59s", "shorter than 1m, so that nobody could log in"),
        ("port_forwarding", "yes", "expected true or false"),
        ("port_forwarding", 1, "expected true or false"),
        ("port_forwarding", [], "expected true or false"),
        ("max_connections", "-1", "expected a whole number below a million; 0 is no limit"),
        ("max_connections", "1000000", "expected a whole number below a million; 0 is no limit"),
        ("max_connections", "\u0663", "expected a whole number below a million; 0 is no limit"),
        ("request_approvals", "0", "expected 1 to 16 reviewers"),
        ("request_approvals", 17, "expected 1 to 16 reviewers"),
        (
            "record_session",
            "node_sync",
            "'node_sync' is none of 'off', 'default', 'node', 'node-sync'; did you mean 'node-sync'?",
        ),
        (
            "require_session_mfa",
            ["totp"],
            "['totp'] is none of '', 'any', 'totp', 'webauthn', 'hardware_key'; did you mean 'totp'?",
        ),
        ("record_session", "xyz", "'xyz' is none of 'off', 'default', 'node', 'node-sync'"),
    ],
)
def test_bad_options(key, value, why):
    assert problems(minimal({"options": {key: value}})) == [(f"spec.options.{key}", why, "")]


MANY = ["a"] * 257


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (
            None,
            [
                ("kind", "expected role", "write kind: role"),
                ("version", "expected v1", "write version: v1"),
                ("metadata.name", "role name is empty", ""),
            ],
        ),
        (minimal(kind="rôle"), [("kind", "expected role", "write kind: role")]),
        (minimal(extra=1), [("extra", "unknown key", "known here are kind, version, metadata, spec")]),
        (minimal({"allows": {}}), [("spec.allows", "unknown key", "did you mean allow?")]),
        (minimal([]), [("spec", "expected keys and values", "write key: value")]),
        (
            minimal({"deny": {"request_roles": []}}),
            [("spec.deny.request_roles", "unknown key", "known here are node_labels, app_labels, logins")],
        ),
        (
            minimal({"allow": {"login": ["x"]}}),
            [("spec.allow.login", "unknown key", "did you mean logins?")],
        ),
        (
            minimal(metadata={"name": "r", "description": "x" * 513}),
            [("metadata.description", "longer than 512 characters", "")],
        ),
        (
            minimal(metadata={"name": ["r"]}),
            [("metadata.name", "expected text", ""), ("metadata.name", "role name is empty", "")],
        ),
        (
            minimal({"allow": {"logins": ["*", "x"]}}),
            [
                (
                    "spec.allow.logins[0]",
                    "'*' may stand in deny only",
                    "name the logins, or use {{internal.logins}}",
                )
            ],
        ),
        (
            minimal({"allow": {"logins": "ubuntu"}}),
            [("spec.allow.logins", "expected a list of texts", "write [a, b]")],
        ),
        (
            minimal({"allow": {"logins": [1]}}),
            [("spec.allow.logins", "expected a list of texts", "write [a, b]")],
        ),
        (minimal({"allow": {"logins": MANY}}), [("spec.allow.logins", "257 entries; 256 are allowed", "")]),
        (
            minimal({"allow": {"node_labels": {"env": []}}}),
            [("spec.allow.node_labels.env", "label key 'env' or its list of values is empty", "")],
        ),
        (
            minimal({"allow": {"node_labels": {str(n): "x" for n in range(65)}}}),
            [("spec.allow.node_labels", "65 label keys are more than the 64 allowed", "")],
        ),
    ],
)
def test_what_is_no_role(document, expected):
    assert problems(document) == expected


def test_every_problem_is_told_at_once():
    found = problems(
        {
            "kind": "role",
            "version": "v2",
            "metadata": {"name": "Example Role", "desc": "x"},
            "spec": {
                "options": {"file_copy": "maybe"},
                "allow": {
                    "node_labels": {"team": "^eng-(.*$"},
                    "logins": ["ubuntu", "{{internal}}", "-x"],
                    "request_roles": ["A"],
                    "request_resources": {"nodes": ["db_*"], "apps": []},
                },
                "deny": {"logins": ["*", "{{user.name}}"]},
            },
        }
    )
    assert [key for key, _why, _hint in found] == [
        "version",
        "metadata.desc",
        "metadata.name",
        "spec.options.file_copy",
        "spec.allow.request_resources.apps",
        "spec.allow.node_labels.team",
        "spec.allow.logins[1]",
        "spec.allow.logins[2]",
        "spec.allow.request_roles[0]",
        "spec.allow.request_resources.nodes[0]",
        "spec.deny.logins[1]",
    ]


def test_the_text_of_the_exception_has_all_of_them():
    error = RoleProblems(
        [RoleProblem(key="", why="bad"), RoleProblem(key="spec", why="worse", hint="mend it")]
    )
    assert str(error) == "role: bad\nspec: worse; mend it"
