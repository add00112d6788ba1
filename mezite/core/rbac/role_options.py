# SPDX-License-Identifier: Apache-2.0
"""What an access by a role is like, and how several roles' ideas of it combine: to the strictest."""

import enum
from collections.abc import Iterable

import attrs

__all__ = ["RecordSession", "RoleOptions", "SessionMfa", "strictest", "strictest_mfa"]


class SessionMfa(enum.Enum):
    """Which second factor a session needs, from the mildest to the strictest."""

    NONE = ""
    ANY = "any"
    TOTP = "totp"
    WEBAUTHN = "webauthn"
    HARDWARE_KEY = "hardware_key"


class RecordSession(enum.Enum):
    """How sessions are recorded, from the mildest to the strictest. DEFAULT is the hub's ``recording.mode``."""

    OFF = "off"
    DEFAULT = "default"
    NODE = "node"
    NODE_SYNC = "node-sync"


@attrs.frozen(kw_only=True)
class RoleOptions:
    """The options of a role."""

    max_session_ttl: int = 12 * 3600
    """Seconds."""
    require_session_mfa: SessionMfa = SessionMfa.NONE
    require_trusted_device: bool = False
    port_forwarding: bool = True
    file_copy: bool = True
    agent_forwarding: bool = True
    pin_source_ip: bool = False
    record_session: RecordSession = RecordSession.DEFAULT
    idle_timeout: int = 0
    """Seconds; 0 is no limit."""
    max_connections: int = 0
    """0 is no limit."""
    request_approvals: int = 1
    """How many reviewers must approve a request for this role, or for a node that it lets its holders ask for."""


def strictest(options: Iterable[RoleOptions]) -> RoleOptions:
    """One set of options that is as strict as each of ``options`` in every respect.

    Raises ValueError: there are none, so nothing was granted and no options apply.
    """
    given = list(options)
    if not given:
        raise ValueError("the options of no role combine to nothing")
    if all(each == given[0] for each in given):
        return given[0]
    return RoleOptions(
        max_session_ttl=min(each.max_session_ttl for each in given),
        require_session_mfa=strictest_mfa(each.require_session_mfa for each in given),
        require_trusted_device=any(each.require_trusted_device for each in given),
        port_forwarding=all(each.port_forwarding for each in given),
        file_copy=all(each.file_copy for each in given),
        agent_forwarding=all(each.agent_forwarding for each in given),
        pin_source_ip=any(each.pin_source_ip for each in given),
        record_session=max((each.record_session for each in given), key=list(RecordSession).index),
        idle_timeout=lowest_limit(each.idle_timeout for each in given),
        max_connections=lowest_limit(each.max_connections for each in given),
        request_approvals=max(each.request_approvals for each in given),
    )


def strictest_mfa(asked: Iterable[SessionMfa]) -> SessionMfa:
    """The strictest of them; NONE when there are none."""
    return max(asked, key=list(SessionMfa).index, default=SessionMfa.NONE)


def lowest_limit(limits: Iterable[int]) -> int:
    return min((limit for limit in limits if limit), default=0)
