# SPDX-License-Identifier: Apache-2.0
"""What would flip a decision: the least that an administrator would have to change.

Each change can be applied to roles and request, so a test can hold every answer to its word: all of them
together flip the decision, and no part of them would do.
"""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import attrs

from mezite.core.rbac.evaluator import (
    AppRequest,
    NodeRequest,
    denying_rules,
    evaluate,
    grants_login,
    selector,
)
from mezite.core.rbac.label_matcher import ANY, NOTHING, LabelSelector
from mezite.core.rbac.login_templates import ANY_LOGIN, Traits, expand_logins, is_login
from mezite.core.rbac.roles import Conditions, Role

__all__ = [
    "AddLogin",
    "Change",
    "GiveRole",
    "Request",
    "SetLabel",
    "StopDenying",
    "TakeRole",
    "apply_changes",
    "find_flip",
    "flip_text",
]

Request: TypeAlias = NodeRequest | AppRequest
Situation: TypeAlias = tuple[Sequence[Role], Request]


@attrs.frozen
class TakeRole:
    """Take a role from the user."""

    role: str

    def __str__(self) -> str:
        return f"take role {self.role} from the user"

    def applied(self, roles: Sequence[Role], request: Request) -> Situation:
        """The situation afterwards."""
        return [role for role in roles if role.name != self.role], request


@attrs.frozen
class StopDenying:
    """Remove the rules of a role that deny this request."""

    role: str
    paths: tuple[str, ...]

    def __str__(self) -> str:
        return f"let {' and '.join(self.paths)} of role {self.role} no longer match"

    def applied(self, roles: Sequence[Role], request: Request) -> Situation:
        """The situation afterwards."""
        return [without_denial(role, request) if role.name == self.role else role for role in roles], request


@attrs.frozen
class AddLogin:
    """Add a login to what a role allows."""

    role: str
    login: str

    def __str__(self) -> str:
        return f"add {self.login} to allow.logins of role {self.role}"

    def applied(self, roles: Sequence[Role], request: Request) -> Situation:
        """The situation afterwards."""
        return [with_login(role, self.login) if role.name == self.role else role for role in roles], request


@attrs.frozen
class SetLabel:
    """Label the resource differently."""

    key: str
    value: str

    def __str__(self) -> str:
        return f"set the label {self.key}={self.value} on it"

    def applied(self, roles: Sequence[Role], request: Request) -> Situation:
        """The situation afterwards."""
        return roles, attrs.evolve(request, labels={**request.labels, self.key: self.value})


@attrs.frozen
class GiveRole:
    """Give the user one more role, which allows what is asked for."""

    login: str | None

    def __str__(self) -> str:
        with_login = "" if self.login is None else f" with the login {self.login}"
        return f"give the user a role that allows it{with_login}"

    def applied(self, roles: Sequence[Role], request: Request) -> Situation:
        """The situation afterwards."""
        everything = LabelSelector.parse({ANY: ANY})
        logins = () if self.login is None else (self.login,)
        allow = Conditions(node_labels=everything, app_labels=everything, logins=logins)
        return [*roles, Role(name="one-more-role", allow=allow)], request


Change: TypeAlias = TakeRole | StopDenying | AddLogin | SetLabel | GiveRole


def without_denial(role: Role, request: Request) -> Role:
    deny = role.deny
    if isinstance(request, AppRequest):
        return attrs.evolve(role, deny=attrs.evolve(deny, app_labels=NOTHING))
    traits = Traits(request.traits, request.claims)
    kept = [
        entry
        for entry in deny.logins
        if entry != ANY_LOGIN and request.login not in expand_logins([entry], traits)
    ]
    labels = NOTHING if deny.node_labels.matches(request.labels) else deny.node_labels
    return attrs.evolve(role, deny=attrs.evolve(deny, node_labels=labels, logins=tuple(kept)))


def with_login(role: Role, login: str) -> Role:
    return attrs.evolve(role, allow=attrs.evolve(role.allow, logins=(*role.allow.logins, login)))


def apply_changes(changes: Sequence[Change], roles: Sequence[Role], request: Request) -> Situation:
    """Roles and request as they were if ``changes`` were made."""
    for change in changes:
        roles, request = change.applied(roles, request)
    return roles, request


def find_flip(roles: Sequence[Role], request: Request) -> tuple[Change, ...]:
    """The changes that together turn ``evaluate(roles, request)`` round, none of them in vain.

    Empty when nothing can: the login is none that any role could allow.
    """
    decision = evaluate(roles, request)
    if decision.allowed:
        return tuple(TakeRole(name) for name in decision.granting_roles)
    if isinstance(request, NodeRequest) and not is_login(request.login):
        return ()
    paths: dict[str, list[str]] = {}
    for rule in denying_rules(roles, request):
        paths.setdefault(rule.role, []).append(rule.path)
    undone = [StopDenying(role, tuple(of_role)) for role, of_role in paths.items()]
    ways = ([*undone, *grant] for grant in possible_grants(roles, request))
    return min((needed(way, roles, request) for way in ways if flips(way, roles, request)), key=len)


def possible_grants(roles: Sequence[Role], request: Request) -> Iterator[list[Change]]:
    """Ways to be granted what is asked for, the narrowest first. The last one always works."""
    yield []
    if isinstance(request, NodeRequest):
        for role in roles:
            if role.allow.node_labels.matches(request.labels):
                yield [AddLogin(role.name, request.login)]
    for role in roles:
        allowed = selector(role.allow, request)
        missing = allowed.unmatched(request.labels)
        if len(missing) == 1 and grants_login(role, request):
            for value in sorted(allowed.conditions[missing[0]].exact - {ANY}):
                yield [SetLabel(missing[0], value)]
    yield [GiveRole(request.login if isinstance(request, NodeRequest) else None)]


def flips(changes: Sequence[Change], roles: Sequence[Role], request: Request) -> bool:
    return evaluate(*apply_changes(changes, roles, request)).allowed


def needed(changes: Sequence[Change], roles: Sequence[Role], request: Request) -> tuple[Change, ...]:
    """``changes`` without those that it works without."""
    kept = list(changes)
    for change in changes:
        fewer = [other for other in kept if other != change]
        if flips(fewer, roles, request):
            kept = fewer
    return tuple(kept)


def flip_text(changes: Sequence[Change]) -> str:
    """For people: what would flip the decision."""
    return " and ".join(str(change) for change in changes) or "nothing: no role can allow that login"
