# SPDX-License-Identifier: Apache-2.0
import pytest
from hypothesis import given

from mezite.core.rbac.label_matcher import NOTHING, InvalidSelectorError, LabelSelector
from mezite.testing.strategies.core_texts import labels

PROD = {"env": "prod", "team": "web"}


@pytest.mark.parametrize(
    ("selector", "resource", "matches"),
    [
        ({"env": "prod"}, PROD, True),
        ({"env": "Prod"}, PROD, False),
        ({"env": "pro"}, PROD, False),
        ({"env": ["staging", "prod"]}, PROD, True),
        ({"env": ["staging", "development"]}, PROD, False),
        ({"env": "*"}, PROD, True),
        ({"env": ["x", "*"]}, PROD, True),
        ({"zone": "*"}, PROD, False),
        ({"*": "*"}, PROD, True),
        ({"*": "*"}, {}, True),
        ({"*": ["*"]}, {}, True),
        ({"*": "*", "env": "dev"}, PROD, False),
        ({"env": "prod", "team": "web"}, PROD, True),
        ({"env": "prod", "team": "db"}, PROD, False),
        ({"env": "prod", "zone": "*"}, PROD, False),
        ({}, PROD, False),
        ({}, {}, False),
        ({"env": "prod"}, {}, False),
        ({"env": "^pr.*$"}, PROD, True),
        ({"env": "^r.*$"}, PROD, False),
        ({"env": ["dev", "^(dev|prod)$"]}, PROD, True),
        ({"env": "^prod|x$"}, {"env": "production"}, False),
        ({"env": "^PROD$"}, PROD, False),
        ({"zone": "^.*$"}, PROD, False),
        ({"*": "*", "env": "^d.*$"}, PROD, False),
    ],
)
def test_the_contract_of_selectors(selector, resource, matches):
    assert LabelSelector.parse(selector).matches(resource) is matches


@pytest.mark.parametrize(
    ("selector", "why"),
    [
        ({"team": "^eng-(.*$"}, "label 'team': .* is not a regular expression: missing"),
        ({"team": ["a", "^b"]}, "half a regular expression"),
        ({"team": "b$"}, "half a regular expression"),
        ({"*": "^.*$"}, r"'\*' goes with the value '\*' only"),
        ({"*": "prod"}, r"'\*' goes with the value '\*' only"),
        ({"*": ["*", "prod"]}, r"'\*' goes with the value '\*' only"),
        ({"env": []}, "is empty"),
        ({"": "x"}, "is empty"),
        ({"env": [str(n) for n in range(257)]}, "257 values"),
        ({str(n): "x" for n in range(65)}, "65 label keys"),
    ],
)
def test_bad_selectors_are_refused_when_made(selector, why):
    with pytest.raises(InvalidSelectorError, match=why):
        LabelSelector.parse(selector)


@given(labels())
def test_nothing_matches_nothing_and_star_everything(resource):
    assert not NOTHING.matches(resource)
    assert LabelSelector.parse({"*": "*"}).matches(resource)


@given(labels(), labels())
def test_matching_is_inclusion_for_plain_values(selector, resource):
    plain = {key: value for key, value in selector.items() if "*" not in value and value.strip("^$") == value}
    expected = bool(plain) and plain.items() <= resource.items()
    assert LabelSelector.parse(plain).matches(resource) is expected
    if plain:
        assert LabelSelector.parse(plain).matches({**resource, **plain})


def test_what_a_selector_says_about_itself():
    selector = LabelSelector.parse({"team": ["web", "^eng-.*$"], "env": "prod"})
    assert selector.document() == {"env": ["prod"], "team": ["^eng-.*$", "web"]}
    assert LabelSelector.parse(selector.document()) == selector
    assert selector.unmatched({"env": "prod", "team": "eng-1"}) == ()
    assert selector.unmatched({"team": "ops"}) == ("team", "env")
