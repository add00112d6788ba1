# SPDX-License-Identifier: Apache-2.0
"""What would flip a decision. That every answer is enough and needed is shown in test_oracle.py."""

import pytest

from mezite.core.rbac.changes import (
    AddLogin,
    GiveRole,
    SetLabel,
    StopDenying,
    TakeRole,
    apply_changes,
    find_flip,
    flip_text,
)
from mezite.core.rbac.evaluator import AppRequest, NodeRequest, evaluate
from mezite.core.rbac.label_matcher import LabelSelector
from mezite.core.rbac.roles import BUILT_IN_ROLES, Conditions, Role

ACCESS = BUILT_IN_ROLES["access"]
TRAITS = {"logins": ("ubuntu",)}


def role(name, *, allow=None, logins=(), deny=None, deny_logins=()):
    return Role(
        name=name,
        allow=Conditions(
            node_labels=LabelSelector.parse(allow or {}),
            app_labels=LabelSelector.parse(allow or {}),
            logins=tuple(logins),
        ),
        deny=Conditions(
            node_labels=LabelSelector.parse(deny or {}),
            app_labels=LabelSelector.parse(deny or {}),
            logins=tuple(deny_logins),
        ),
    )


def node(login="ubuntu", **labels):
    return NodeRequest(labels=labels, login=login, traits=TRAITS)


STAGING = role("staging", allow={"env": ["staging", "test"]}, logins=["ubuntu"])

CASES = [
    ([ACCESS], node(), (TakeRole("access"),), "take role access from the user"),
    (
        [ACCESS, STAGING],
        node(env="test"),
        (TakeRole("access"), TakeRole("staging")),
        "take role access from the user and take role staging from the user",
    ),
    ([ACCESS], node("root"), (AddLogin("access", "root"),), "add root to allow.logins of role access"),
    ([STAGING], node(env="prod"), (SetLabel("env", "staging"),), "set the label env=staging on it"),
    ([], node(), (GiveRole("ubuntu"),), "give the user a role that allows it with the login ubuntu"),
    ([], AppRequest(labels={}), (GiveRole(None),), "give the user a role that allows it"),
    ([STAGING], AppRequest(labels={}), (SetLabel("env", "staging"),), "set the label env=staging on it"),
    (
        [role("eng", allow={"team": "^eng-.*$"}, logins=["ubuntu"])],
        node(),
        (GiveRole("ubuntu"),),
        "give the user a role that allows it with the login ubuntu",
    ),
    (
        [role("any", allow={"team": "*"}, logins=["ubuntu"])],
        node(),
        (GiveRole("ubuntu"),),
        "give the user a role that allows it with the login ubuntu",
    ),
    (
        [ACCESS, role("no", deny={"env": "prod"}, deny_logins=["ubuntu", "root", "{{internal.logins}}"])],
        node(env="prod"),
        (StopDenying("no", ("deny.node_labels", "deny.logins")),),
        "let deny.node_labels and deny.logins of role no no longer match",
    ),
    (
        [role("no", deny={"env": "prod"}), role("none", deny_logins=["*"])],
        node(env="prod"),
        (StopDenying("no", ("deny.node_labels",)), StopDenying("none", ("deny.logins",)), GiveRole("ubuntu")),
        "let deny.node_labels of role no no longer match and let deny.logins of role none no longer match and "
        "give the user a role that allows it with the login ubuntu",
    ),
    (
        [STAGING, role("no", deny={"env": "prod"})],
        node(env="prod"),
        (SetLabel("env", "staging"),),
        "set the label env=staging on it",
    ),
    (
        [ACCESS, role("no", deny={"env": "prod"})],
        AppRequest(labels={"env": "prod"}),
        (StopDenying("no", ("deny.app_labels",)),),
        "let deny.app_labels of role no no longer match",
    ),
    (
        [role("a", allow={"env": ["x", "y"]}, logins=["ubuntu"], deny={"env": "x"})],
        node(env="z"),
        (SetLabel("env", "y"),),
        "set the label env=y on it",
    ),
]


@pytest.mark.parametrize(("roles", "request_", "changes", "text"), CASES)
def test_what_would_flip_it(roles, request_, changes, text):
    assert find_flip(roles, request_) == changes
    assert flip_text(changes) == text
    flipped = evaluate(*apply_changes(changes, roles, request_))
    assert flipped.allowed is not evaluate(roles, request_).allowed


@pytest.mark.parametrize("login", ["", "-oProxyCommand=x", "*", "0"])
def test_what_is_no_login_is_never_allowed(login):
    """Nothing flips it: no role could list such a login."""
    assert find_flip([ACCESS], node(login)) == ()
    assert flip_text(()) == "nothing: no role can allow that login"


def test_a_denial_that_does_not_apply_stays():
    """What is removed is the rules that match, not the whole denial."""
    mixed = role("no", deny={"env": "prod"}, deny_logins=["ubuntu", "root"])
    roles, _ = apply_changes([StopDenying("no", ("deny.logins",))], [ACCESS, mixed], node(env="dev"))
    assert roles[1].deny.logins == ("root",)
    assert roles[1].deny.node_labels == mixed.deny.node_labels
