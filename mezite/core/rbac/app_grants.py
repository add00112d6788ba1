# SPDX-License-Identifier: Apache-2.0
"""What some roles allow on applications, for asking about many: equal questions are answered once."""

from collections.abc import Mapping, Sequence

from mezite.core.rbac.evaluator import AppRequest, Decision, evaluate
from mezite.core.rbac.roles import Role

__all__ = ["AppGrants"]

MAX_ANSWERS = 4096
"""Kinds of application remembered for one user: a few megabytes at the very most. Clusters have hundreds."""


Alike = tuple[str | None, ...]
"""What an application has for each label that some role mentions."""


class AppGrants:
    """Remembers what ``evaluate`` has said."""

    def __init__(self, roles: Sequence[Role]) -> None:
        self._roles = roles
        self._mentioned = tuple(
            sorted(
                {
                    key
                    for role in roles
                    for side in (role.allow, role.deny)
                    for key in side.app_labels.conditions
                }
            )
        )
        self._answers: dict[Alike, Decision] = {}
        self._letting_in: dict[Alike, frozenset[str]] = {}

    def decide(self, labels: Mapping[str, str]) -> Decision:
        """What ``evaluate`` says of an application with ``labels``.

        Applications that are alike in every label that some role mentions get the same answer, found once.
        """
        alike = tuple(map(labels.get, self._mentioned))
        answer = self._answers.get(alike)
        if answer is None:
            if len(self._answers) >= MAX_ANSWERS:
                self._answers.clear()
            answer = self._answers[alike] = evaluate(self._roles, AppRequest(labels=labels))
        return answer

    def letting_in(self, labels: Mapping[str, str]) -> frozenset[str]:
        """The names of the roles that allow an application with ``labels``, whatever others deny."""
        alike = tuple(map(labels.get, self._mentioned))
        names = self._letting_in.get(alike)
        if names is None:
            if len(self._letting_in) >= MAX_ANSWERS:
                self._letting_in.clear()
            matching = (role.name for role in self._roles if role.allow.app_labels.matches(labels))
            names = self._letting_in[alike] = frozenset(matching)
        return names
