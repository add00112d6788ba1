# SPDX-License-Identifier: Apache-2.0
from hypothesis import given
from hypothesis import strategies as st

from mezite.core.rbac.app_grants import MAX_ANSWERS, AppGrants
from mezite.core.rbac.evaluator import AppRequest, evaluate
from mezite.core.rbac.label_matcher import LabelSelector
from mezite.core.rbac.roles import BUILT_IN_ROLES, Conditions, Role

SELECTORS = st.dictionaries(
    st.sampled_from(["env", "team"]), st.sampled_from(["prod", "dev", "*", "^p.*$"]), max_size=2
).map(LabelSelector.parse)
ROLES = st.lists(st.tuples(SELECTORS, SELECTORS, SELECTORS), max_size=4).map(
    lambda selectors: [
        Role(
            name=f"r{number}",
            allow=Conditions(app_labels=allow, node_labels=other),
            deny=Conditions(app_labels=deny if number % 2 else LabelSelector()),
        )
        for number, (allow, deny, other) in enumerate(selectors)
    ]
)
LABELS = st.dictionaries(st.sampled_from(["env", "team", "zone"]), st.sampled_from(["prod", "dev"]))


@given(ROLES, st.lists(LABELS, max_size=4))
def test_the_same_as_evaluate_in_whatever_order(roles, apps):
    grants = AppGrants(roles)
    for labels in [*apps, *apps]:
        assert grants.decide(labels) == evaluate(roles, AppRequest(labels=labels))
        assert grants.letting_in(labels) == {
            role.name for role in roles if role.allow.app_labels.matches(labels)
        }


def test_everything_and_nothing():
    assert AppGrants([BUILT_IN_ROLES["access"]]).decide({}).role == "access"
    assert not AppGrants([BUILT_IN_ROLES["auditor"]]).decide({"env": "prod"}).allowed


def test_what_is_remembered_is_bounded():
    env = LabelSelector.parse({"env": "^[0-9]+$"})
    role = Role(
        name="r",
        allow=Conditions(app_labels=env),
        deny=Conditions(app_labels=LabelSelector.parse({"env": "7"})),
    )
    grants = AppGrants([role])
    for number in range(MAX_ANSWERS + 2):
        assert grants.decide({"env": str(number), "host": f"h{number}"}).allowed == (number != 7)
        assert grants.letting_in({"env": str(number)}) == {"r"}
    assert len(grants._answers) == len(grants._letting_in) == 2
