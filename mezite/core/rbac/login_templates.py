# SPDX-License-Identifier: Apache-2.0
"""Logins of a role: names, and templates such as ``{{internal.logins}}`` or ``dev-{{external.username}}``."""

import re
from collections.abc import Collection, Iterable, Mapping

import attrs

from mezite.core.names import InvalidNameError, check_login

__all__ = ["ANY_LOGIN", "InvalidLoginError", "Traits", "check_login_entry", "expand_logins", "is_login"]

ANY_LOGIN = "*"
"""In a deny list only: every login. An allow list names logins, so that a new account is never open by
accident."""

TEMPLATE = re.compile(
    r"([^{}]*)\{\{ *(internal|external)\.([A-Za-z_][A-Za-z0-9_.:/-]{0,127}) *\}\}([^{}]*)", re.ASCII
)


class InvalidLoginError(ValueError):
    """An entry of a role's logins is neither a login nor a template."""


@attrs.frozen
class Traits:
    """What templates are filled from."""

    internal: Mapping[str, Collection[str]] = attrs.field(factory=dict)
    """The user's own traits."""
    external: Mapping[str, Collection[str]] = attrs.field(factory=dict)
    """The claims of the connector the user came through."""


def check_login_entry(entry: str) -> str:
    """Return ``entry`` if a role may list it among its allowed logins. Raises InvalidLoginError."""
    if "{" in entry or "}" in entry:
        if TEMPLATE.fullmatch(entry) is None:
            raise InvalidLoginError(f"login {entry!r} is not a template such as {{{{internal.logins}}}}")
        return entry
    try:
        return check_login(entry)
    except InvalidNameError as error:
        raise InvalidLoginError(str(error)) from None


def expand_logins(entries: Iterable[str], traits: Traits) -> frozenset[str]:
    """The logins that ``entries`` name for a user with ``traits``.

    A list trait gives one login for each value; a missing trait none; a value that would not be a login is
    left out, so that nobody can put options or patterns into a principal by editing a trait.
    """
    logins: set[str] = set()
    for entry in entries:
        match = TEMPLATE.fullmatch(entry) if "{" in entry else None
        if match is None:
            logins.add(entry)
            continue
        before, source, name, after = match.groups()
        values = (traits.internal if source == "internal" else traits.external).get(name, ())
        logins.update(login for login in (before + value + after for value in values) if is_login(login))
    return frozenset(logins)


def is_login(text: str) -> bool:
    """Whether ``text`` may be the name of an account on a node."""
    try:
        check_login(text)
    except InvalidNameError:
        return False
    return True
