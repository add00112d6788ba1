# SPDX-License-Identifier: Apache-2.0
"""The claims are those of the contract, and nothing that a header field could not carry is in them."""

import json

import attrs
import pytest

from mezite.core.assertion.claims import payload
from mezite.core.names import InvalidNameError
from tests.core.assertion.forging import BODY, CLAIMS


def test_the_claims_of_the_contract():
    assert json.loads(payload(CLAIMS, CLAIMS.roles)) == BODY
    assert list(json.loads(payload(CLAIMS, CLAIMS.roles))) == list(BODY)


def test_what_is_left_out_is_counted():
    body = json.loads(payload(CLAIMS, CLAIMS.roles[:1]))
    assert body == {**BODY, "roles": ["access"], "roles_omitted": 1}


@pytest.mark.parametrize(
    "changes",
    [
        {"subject": "alice\r\nX-Admin: 1"},
        {"subject": "älice"},
        {"subject": ""},
        {"subject": "a,b"},
        {"roles": ("access", "a,admin")},
        {"roles": ("admin\n",)},
        {"app": "grafana\r\n"},
        {"app": "Grafana"},
    ],
)
def test_names_outside_their_grammar_are_refused(changes):
    with pytest.raises(InvalidNameError):
        attrs.evolve(CLAIMS, **changes)
