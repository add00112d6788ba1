# SPDX-License-Identifier: Apache-2.0
import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.rbac.evaluator import (
    MAX_ANSWERS,
    AppRequest,
    Effect,
    NodeGrants,
    NodeRequest,
    Rule,
    all_logins,
    allowed_logins,
    denying_rules,
    evaluate,
)
from mezite.core.rbac.label_matcher import LabelSelector
from mezite.core.rbac.role_options import RoleOptions
from mezite.core.rbac.roles import BUILT_IN_ROLES, Conditions, Role

PROD = {"env": "prod"}
TRAITS = {"logins": ("ubuntu",)}
ACCESS = BUILT_IN_ROLES["access"]


def select(**labels):
    return LabelSelector.parse(labels)


def test_no_role_no_access_e13():
    decision = evaluate([], NodeRequest(labels=PROD, login="root"))
    assert not decision.allowed
    assert decision.effect is Effect.NOTHING_MATCHES
    assert decision.role is None
    assert decision.reason == "no role allows this node"
    assert evaluate([], AppRequest(labels=PROD)).reason == "no role allows this application"


def test_own_logins_are_granted_and_others_are_not():
    granted = evaluate([ACCESS], NodeRequest(labels=PROD, login="ubuntu", traits=TRAITS))
    assert granted.allowed
    assert (granted.role, granted.granting_roles) == ("access", ("access",))
    refused = evaluate([ACCESS], NodeRequest(labels=PROD, login="root", traits=TRAITS))
    assert not refused.allowed
    assert refused.effect is Effect.LOGIN_NOT_LISTED
    assert refused.reason == "the login 'root' is not among those that access allows"


def test_one_role_must_grant_resource_and_login_together():
    """Labels of one role and logins of another do not add up."""
    labels_only = Role(name="a", allow=Conditions(node_labels=select(env="prod")))
    login_only = Role(name="b", allow=Conditions(node_labels=select(env="dev"), logins=("root",)))
    decision = evaluate([labels_only, login_only], NodeRequest(labels=PROD, login="root"))
    assert not decision.allowed
    assert decision.role == "a"


def test_deny_by_labels_wins():
    deny = Role(name="no-prod", deny=Conditions(node_labels=select(env="prod")))
    for roles in ([ACCESS, deny], [deny, ACCESS]):
        decision = evaluate(roles, NodeRequest(labels=PROD, login="ubuntu", traits=TRAITS))
        assert not decision.allowed
        assert (decision.effect, decision.role) == (Effect.DENIED_RESOURCE, "no-prod")
        assert allowed_logins(roles, TRAITS, PROD) == frozenset()
        assert evaluate(roles, NodeRequest(labels={}, login="ubuntu", traits=TRAITS)).allowed


@pytest.mark.parametrize("entry", ["ubuntu", "*", "{{internal.logins}}"])
def test_deny_by_login_wins_everywhere(entry):
    deny = Role(name="no-login", deny=Conditions(logins=(entry,)))
    decision = evaluate([ACCESS, deny], NodeRequest(labels={}, login="ubuntu", traits=TRAITS))
    assert (decision.allowed, decision.effect) == (False, Effect.DENIED_LOGIN)
    assert allowed_logins([ACCESS, deny], TRAITS, {}) == frozenset()
    assert all_logins([ACCESS, deny], TRAITS) == frozenset()


def test_deny_by_a_login_out_of_the_claims():
    allow = Role(name="any", allow=Conditions(node_labels=select(env="prod"), logins=("alice", "root")))
    deny = Role(name="no-own", deny=Conditions(logins=("{{external.username}}",)))
    claims = {"username": ("alice",)}
    refused = evaluate([allow, deny], NodeRequest(labels=PROD, login="alice", claims=claims))
    assert (refused.allowed, refused.effect) == (False, Effect.DENIED_LOGIN)
    assert allowed_logins([allow, deny], {}, PROD, claims) == {"root"}
    assert all_logins([allow, deny], {}, claims) == {"root"}


def test_applications_have_labels_of_their_own():
    role = Role(
        name="apps",
        allow=Conditions(app_labels=select(env="prod")),
        deny=Conditions(app_labels=select(secret="yes"), logins=("*",)),
    )
    assert evaluate([role], AppRequest(labels=PROD)).allowed
    assert not evaluate([role], AppRequest(labels={**PROD, "secret": "yes"})).allowed
    assert not evaluate([role], NodeRequest(labels=PROD, login="x")).allowed


def test_claims_fill_external_templates():
    role = Role(
        name="sso", allow=Conditions(node_labels=select(env="prod"), logins=("{{external.username}}",))
    )
    claims = {"username": ("alice",)}
    assert evaluate([role], NodeRequest(labels=PROD, login="alice", claims=claims)).allowed
    assert allowed_logins([role], {}, PROD, claims) == {"alice"}
    assert all_logins([role], {}, claims) == {"alice"}
    assert allowed_logins([role], {"username": ("alice",)}, PROD) == frozenset()


def test_logins_of_roles_that_reach_no_node_are_nobodys():
    assert all_logins([Role(name="x", allow=Conditions(logins=("root",)))], {}) == frozenset()


VALUES = st.sampled_from(["prod", "dev"])
SELECTORS = st.sampled_from(
    [{}, {"*": "*"}, {"env": "prod"}, {"env": ["prod", "dev"]}, {"env": "*", "team": "web"}]
)
LABELS = st.fixed_dictionaries({}, optional={"env": VALUES, "team": st.just("web")})
LOGINS = st.lists(st.sampled_from(["root", "ubuntu", "{{internal.logins}}"]), max_size=3).map(tuple)
CONDITIONS = st.builds(
    lambda selector, logins: Conditions(node_labels=LabelSelector.parse(selector), logins=logins),
    SELECTORS,
    LOGINS,
)
ROLES = st.lists(
    st.builds(Role, name=st.sampled_from(["a", "b", "c"]), allow=CONDITIONS, deny=CONDITIONS), max_size=4
)


@given(ROLES, LABELS, st.sampled_from(["root", "ubuntu", "deploy"]), st.randoms())
def test_the_ways_of_asking_agree(roles, labels, login, random):
    """T14: one request, the list of logins, and any order of the roles give the same answer."""
    traits = {"logins": ("deploy",)}
    request = NodeRequest(labels=labels, login=login, traits=traits)
    decision = evaluate(roles, request)
    assert decision.allowed == (login in allowed_logins(roles, traits, labels))
    if decision.allowed:
        assert login in all_logins(roles, traits)
        assert decision.role in decision.granting_roles
    shuffled = list(roles)
    random.shuffle(shuffled)
    assert evaluate(shuffled, request).allowed == decision.allowed


@given(ROLES, ROLES, LABELS, st.sampled_from(["root", "ubuntu"]))
def test_a_denial_survives_every_further_role(roles, more, labels, login):
    request = NodeRequest(labels=labels, login=login)
    if evaluate(roles, request).effect in (Effect.DENIED_LOGIN, Effect.DENIED_RESOURCE):
        assert not evaluate([*roles, *more], request).allowed


def test_a_decision_names_its_rule_and_the_values_it_was_held_against():
    role = Role(
        name="eng",
        allow=Conditions(node_labels=select(env="^p.*$"), logins=("{{internal.logins}}", "deploy")),
        deny=Conditions(node_labels=select(zone="*"), app_labels=select(env="prod"), logins=("root", "*")),
    )
    open_role = attrs.evolve(role, deny=Conditions())
    labels = {**PROD, "team": "web"}
    granted = evaluate([open_role], NodeRequest(labels=labels, login="deploy", traits=TRAITS))
    values = {"{{internal.logins}}": ("ubuntu",), "deploy": ("deploy",)}
    assert granted.rule == Rule(role="eng", path="allow.logins", labels=PROD, logins=values)
    missing = evaluate([open_role], NodeRequest(labels=labels, login="root", traits={}))
    assert missing.rule.logins == {"{{internal.logins}}": (), "deploy": ("deploy",)}
    assert evaluate([ACCESS], AppRequest(labels=PROD)).rule == Rule(role="access", path="allow.app_labels")
    request = NodeRequest(labels={"zone": "z"}, login="root", traits=TRAITS)
    assert denying_rules([role], request) == [
        Rule(role="eng", path="deny.node_labels", labels={"zone": "z"}),
        Rule(role="eng", path="deny.logins", logins={"root": ("root",), "*": ("*",)}),
    ]
    app = evaluate([role], AppRequest(labels=PROD))
    assert app.rule == Rule(role="eng", path="deny.app_labels", labels=PROD)
    assert app.reason == "role eng denies it by its labels"
    assert evaluate([], request).rule is None


def test_options_are_the_strictest_of_the_roles_that_grant_this_access():
    closed = Role(
        name="closed",
        options=RoleOptions(port_forwarding=False, max_session_ttl=600),
        allow=Conditions(node_labels=select(env="prod"), logins=("ubuntu",)),
    )
    prod = NodeRequest(labels=PROD, login="ubuntu", traits=TRAITS)
    assert evaluate([ACCESS, closed], prod).options == RoleOptions(port_forwarding=False, max_session_ttl=600)
    assert evaluate([ACCESS, closed], attrs.evolve(prod, labels={})).options == RoleOptions()
    assert evaluate([closed], attrs.evolve(prod, labels={})).options is None


def test_grants_are_prepared_once_for_many_nodes():
    grants = NodeGrants([ACCESS], TRAITS)
    assert grants.granting(PROD) == ((ACCESS, frozenset({"ubuntu"})),)
    assert grants.logins({}) == grants.everywhere() == {"ubuntu"}


LABELS = st.dictionaries(st.sampled_from(["env", "team", "host"]), st.sampled_from(["", "a", "prod", "None"]))


@given(st.lists(LABELS, min_size=2, max_size=12))
def test_nodes_that_are_alike_for_the_roles_share_an_answer(nodes):
    """What was found for one node is the answer for another only if no role can tell them apart."""
    roles = [
        Role(name="some", allow=Conditions(node_labels=select(env=["", "prod"]), logins=("ubuntu",))),
        Role(name="any-team", allow=Conditions(node_labels=select(team="*"), logins=("deploy",))),
        Role(name="not-a", deny=Conditions(node_labels=select(team="a", env="a"))),
    ]
    grants = NodeGrants(roles, {})
    assert [grants.logins(node) for node in nodes] == [NodeGrants(roles, {}).logins(node) for node in nodes]


def test_what_is_remembered_is_bounded():
    grants = NodeGrants(
        [Role(name="x", allow=Conditions(node_labels=select(host="^a.*$"), logins=("u",)))], {}
    )
    for number in range(MAX_ANSWERS + 1):
        grants.logins({"host": f"a{number}"})
    assert len(grants._answers) == 1
    assert grants.logins({"host": "b"}) == frozenset()
