# SPDX-License-Identifier: Apache-2.0
"""What an access request asks for, part by part: how many approvals each needs, from whom, and for how long at most.

Read from the roles as they are when it matters, not as they were when the request was made.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import attrs

from mezite.core.access_request import PartKind, RequestPart, RequestState
from mezite.core.durations import format_duration
from mezite.core.names import InvalidNameError, check_agent_id, check_node_name, check_role_name
from mezite.core.rbac.evaluator import all_logins
from mezite.core.rbac.request_rules import roles_naming, with_nodes
from mezite.core.rbac.roles import Role
from mezite.services.access.authorization import AccessContext, Resource, authorize
from mezite.services.errors import InvalidRequestError, NotFoundError
from mezite.services.identity.identities import UserIdentity
from mezite.services.identity.role_definitions import definitions
from mezite.storage import users
from mezite.storage.access_requests import AccessRequestRow

if TYPE_CHECKING:
    from sqlalchemy import Connection

__all__ = [
    "NewRequest",
    "PartPolicy",
    "check_id",
    "check_reason",
    "check_state",
    "check_wanted",
    "lifetime",
    "parts_of",
    "policies",
    "policies_of",
    "reviewable",
    "reviews_any",
    "sees",
]


NOWHERE = AccessContext(client_address="none", decision_id="")
"""For asking what somebody may, not for letting them."""

MIN_TTL_S = 60
"""As of a certificate."""

MAX_PARTS = 16
"""Roles and nodes in one request; each is asked about at each use of the certificate."""

MAX_REASON = 1024
"""Characters: a few sentences and a link (threat D15)."""


@attrs.frozen(kw_only=True)
class NewRequest:
    """What a user asks for."""

    roles: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ()
    reason: str
    ttl_seconds: int = 0
    """0: the longest that is allowed."""
    extends: str = ""
    """An approved request of the same user whose roles and nodes are wanted for longer."""


@attrs.frozen(kw_only=True)
class PartPolicy:
    """What holds for one part of a request."""

    part: RequestPart
    roles: tuple[Role, ...]
    """The role that is asked for, or the requester's roles that name the node: who reviews one of them reviews this.
    Empty when the role does not exist any more, or no role names the node: only administrators review it then."""

    @property
    def approvals(self) -> int:
        """How many reviewers must approve."""
        return max((role.options.request_approvals for role in self.roles), default=1)

    @property
    def max_seconds(self) -> int:
        """How long it may be granted at most; 0 when there is nothing to grant."""
        return min((role.options.max_session_ttl for role in self.roles), default=0)


def parts_of(request: AccessRequestRow | NewRequest) -> tuple[RequestPart, ...]:
    """Return the parts of a request.

    :raises InvalidRequestError: nothing or too much is asked for, something twice, or what cannot be a name.
    """
    wanted = [(PartKind.ROLE, name, check_role_name) for name in request.roles]
    wanted += [(PartKind.NODE, name, check_node_name) for name in request.nodes]
    if not 0 < len(wanted) <= MAX_PARTS:
        raise InvalidRequestError(f"ask for at least one role or node, and at most {MAX_PARTS} at once")
    try:
        parts = tuple(RequestPart(kind, check(name)) for kind, name, check in wanted)
    except InvalidNameError as error:
        raise InvalidRequestError(str(error)) from None
    if len(set(parts)) != len(parts):
        raise InvalidRequestError("a role or node is asked for twice")
    return parts


def policies(
    conn: Connection, parts: Collection[RequestPart], standing: Collection[Role]
) -> tuple[PartPolicy, ...]:
    """Return what holds for each of `parts`, asked for by somebody with the roles `standing`."""
    names = [part.name for part in parts if part.kind is PartKind.ROLE]
    found = {role.name: (role,) for role in definitions(conn, names)}
    return tuple(
        PartPolicy(
            part=part,
            roles=found.get(part.name, ())
            if part.kind is PartKind.ROLE
            else roles_naming(standing, part.name),
        )
        for part in parts
    )


def policies_of(conn: Connection, row: AccessRequestRow) -> tuple[PartPolicy, ...]:
    """Return what holds for each part of a stored request now."""
    user = users.get(conn, name=row.user_name)
    standing = () if user is None else definitions(conn, user.roles)
    return policies(conn, parts_of(row), standing)


def check_wanted(identity: UserIdentity, found: Collection[PartPolicy]) -> None:
    """:raises InvalidRequestError: a role that the user has or that does not exist, or a node without logins."""
    has = {role.name for role in identity.standing}
    for policy in found:
        name = policy.part.name
        if policy.part.kind is PartKind.NODE:
            naming = with_nodes(policy.roles, (name,))
            if not all_logins(naming, identity.traits, identity.claims):
                raise InvalidRequestError(
                    f"no role that lets you ask for node {name} gives you a login: an administrator must add "
                    f"logins to {', '.join(role.name for role in naming)}"
                )
        elif name in has:
            raise InvalidRequestError(f"you have the role {name} already: ask for others only")
        elif not policy.roles:
            raise InvalidRequestError(f"role {name} does not exist: ask an administrator")


def lifetime(found: Collection[PartPolicy], asked: int) -> int:
    """Return the seconds to grant. :raises InvalidRequestError: more than the strictest role allows, or below 1m."""
    allowed = min(policy.max_seconds for policy in found)
    if asked < 0 or 0 < asked < MIN_TTL_S or asked > allowed:
        raise InvalidRequestError(
            f"this can be granted for at least 1m and at most {format_duration(allowed)}: choose another time"
        )
    return asked or allowed


def check_reason(reason: str) -> str:
    """Return the reason without spaces around it.

    :raises InvalidRequestError: there is none, it is too long, or has characters that no line of text has.
    """
    text = reason.strip()
    if not text:
        raise InvalidRequestError("a reason is needed: reviewers and the audit log want to know why")
    if len(text) > MAX_REASON or not text.isprintable():
        raise InvalidRequestError(f"a reason is one line of at most {MAX_REASON} printable characters")
    return text


def check_state(text: str) -> RequestState | None:
    """Return the state of that name; None for no name. :raises InvalidRequestError: there is no such state."""
    try:
        return RequestState(text) if text else None
    except ValueError:
        known = ", ".join(state.value for state in RequestState)
        raise InvalidRequestError(f"there is no state {text[:32]!r}: known are {known}") from None


def check_id(request_id: str) -> str:
    """Return the id. :raises NotFoundError: it cannot be one."""
    try:
        return check_agent_id(request_id)
    except InvalidNameError:
        raise NotFoundError("there is no such access request: `msh request ls` shows yours") from None


def reviews_any(identity: UserIdentity) -> bool:
    """Whether the user may review some requests of others."""
    return authorize(identity, "requests.review", Resource(kind="access_request"), NOWHERE).allowed


def reviewable(
    identity: UserIdentity, row: AccessRequestRow, found: Collection[PartPolicy]
) -> tuple[str, ...]:
    """Return the parts of the request that the user may review."""

    def may(policy: PartPolicy) -> bool:
        names = [role.name for role in policy.roles] or [""]
        resources = (Resource(kind="role", name=name, owner=row.user_name) for name in names)
        return any(authorize(identity, "requests.review", each, NOWHERE).allowed for each in resources)

    return tuple(str(policy.part) for policy in found if may(policy))


def sees(conn: Connection, identity: UserIdentity, row: AccessRequestRow) -> bool:
    """Whether the user may know of the request: it is theirs, or they may review a part of it."""
    if row.user_name == identity.name:
        return True
    return reviews_any(identity) and bool(reviewable(identity, row, policies_of(conn, row)))
