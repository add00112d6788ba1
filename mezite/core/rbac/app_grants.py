# SPDX-License-Identifier: Apache-2.0
"""What some roles allow on applications, prepared for asking about many."""

from collections.abc import Mapping, Sequence

from mezite.core.rbac.roles import Role

__all__ = ["AppGrants"]

MAX_ANSWERS = 4096
"""Kinds of application remembered for one user: about half a megabyte, as for nodes."""


class AppGrants:
    """Says the same as ``evaluate`` does with an AppRequest, faster; a test holds the two together."""

    def __init__(self, roles: Sequence[Role]) -> None:
        self._denials = [role.deny.app_labels for role in roles if role.deny.app_labels.conditions]
        self._allowing = [role for role in roles if role.allow.app_labels.conditions]
        conditions = [*self._denials, *(role.allow.app_labels for role in self._allowing)]
        self._mentioned = tuple(sorted({key for selector in conditions for key in selector.conditions}))
        self._answers: dict[tuple[str | None, ...], tuple[Role, ...]] = {}

    def granting(self, labels: Mapping[str, str]) -> tuple[Role, ...]:
        """The roles that allow an application with ``labels``; none when a role denies it.

        Applications that are alike in every label that some role mentions get the same answer, found once.
        """
        alike = tuple(map(labels.get, self._mentioned))
        answer = self._answers.get(alike)
        if answer is None:
            if len(self._answers) >= MAX_ANSWERS:
                self._answers.clear()
            answer = self._answers[alike] = self._find(labels)
        return answer

    def _find(self, labels: Mapping[str, str]) -> tuple[Role, ...]:
        if any(denial.matches(labels) for denial in self._denials):
            return ()
        return tuple(role for role in self._allowing if role.allow.app_labels.matches(labels))
