# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from mezite.core.oidc.answers import ProviderError
from mezite.core.oidc.github import github_claims, next_page, parse_list

USER = {"login": "OctoCat", "id": 583231, "name": "Mona", "email": None}
TEAM = {"slug": "platform", "organization": {"login": "Acme"}}


def test_claims():
    claims = github_claims(json.dumps(USER).encode(), [TEAM], [{"login": "Acme"}, {"login": "Other"}])
    assert claims == {
        "sub": "583231",
        "login": "OctoCat",
        "name": "Mona",
        "orgs": ["acme", "other"],
        "teams": ["acme/platform"],
    }


@pytest.mark.parametrize(
    "team",
    [
        {},
        {"slug": "x"},
        {"slug": "x", "organization": "acme"},
        {"slug": "x", "organization": {"login": 5}},
        {"slug": 5, "organization": {"login": "acme"}},
        {"slug": "x", "organization": {"login": "acme/y"}},
    ],
)
def test_teams_that_are_none(team):
    assert github_claims(json.dumps(USER).encode(), [team], [{}, {"login": 5}])["teams"] == []


@pytest.mark.parametrize("changes", [{"id": None}, {"id": "5"}, {"id": True}, {"login": ""}, {"login": None}])
def test_a_user_that_is_none(changes):
    """Threat E5: the number is who it is, never the name."""
    with pytest.raises(ProviderError, match="no id or no login"):
        github_claims(json.dumps({**USER, **changes}).encode(), [], [])


def test_lists():
    assert parse_list(b'[{"a": 1}]', "it") == [{"a": 1}]
    for body, message in (
        (b"{}", "list of objects"),
        (b"[1]", "list of objects"),
        (b"<", "not JSON"),
        (b"[" * 100_000, "not JSON"),
    ):
        with pytest.raises(ProviderError, match=message):
            parse_list(body, "it")


def test_pages():
    more = '<https://api.github.com/user/teams?page=2>; rel="next"'
    assert next_page(more, 1, 100) == 2
    assert next_page(more, 1, 99) is None
    assert next_page('<x>; rel="last"', 3, 100) is None
