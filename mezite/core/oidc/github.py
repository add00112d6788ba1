# SPDX-License-Identifier: Apache-2.0
"""GitHub's answers about a user, as claims: who it is, in which organisations and teams."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from mezite.core.oidc.answers import ProviderError, parse_object, shown

__all__ = ["PAGE_SIZE", "github_claims", "next_page", "parse_list"]

PAGE_SIZE = 100
"""The most that GitHub puts on one page."""


def parse_list(body: bytes, what: str) -> list[Mapping[str, Any]]:
    """The JSON list of objects in ``body``. Raises ProviderError."""
    try:
        values = json.loads(body)
    except (ValueError, RecursionError):
        raise ProviderError(f"{what} is not JSON: it begins with {shown(body[:40])}") from None
    if not isinstance(values, list) or not all(isinstance(each, dict) for each in values):
        raise ProviderError(f"{what} is not a list of objects")
    return values


def next_page(link: str, page: int, received: int) -> int | None:
    """The number of the page behind ``page``, or None, by GitHub's Link field and what the page had.

    Only whether there is a next page is read: where it is, we know ourselves.
    """
    return page + 1 if received >= PAGE_SIZE and 'rel="next"' in link else None


def github_claims(
    user: bytes, teams: Iterable[Mapping[str, Any]], organisations: Iterable[Mapping[str, Any]]
) -> dict[str, Any]:
    """Claims ``sub``, ``login``, ``name``, ``orgs`` and ``teams`` (``org/team``), in lower case where GitHub folds.

    The subject is the number of the account: a name can be given up, and taken by somebody else (threat E5).
    Raises ProviderError: the user's answer has no number or name.
    """
    values = parse_object(user, "GitHub's answer about the user")
    number, login = values.get("id"), values.get("login")
    if isinstance(number, bool) or not isinstance(number, int) or not isinstance(login, str) or not login:
        raise ProviderError("GitHub's answer about the user has no id or no login")
    in_teams = [name for team in teams if (name := team_name(team))]
    in_orgs = [org.lower() for each in organisations if isinstance(org := each.get("login"), str)]
    return {
        "sub": str(number),
        "login": login,
        "name": values.get("name"),
        "orgs": in_orgs,
        "teams": in_teams,
    }


def team_name(team: Mapping[str, Any]) -> str:
    organisation, slug = team.get("organization"), team.get("slug")
    login = organisation.get("login") if isinstance(organisation, Mapping) else None
    if not isinstance(login, str) or not isinstance(slug, str) or "/" in login:
        return ""
    return f"{login}/{slug}".lower()
