# SPDX-License-Identifier: Apache-2.0
"""The closed vocabulary of audit events: each type with its code and what it says.

A code is ``T``, four digits and the severity (I information, W warning, E error). The first digits group: 1
people and their credentials, 2 sessions, 3 nodes, 4 refusals, 5 access requests and locks, 6 applications, 7
the cluster itself. A code, once released, keeps its meaning for ever.
"""

import enum

__all__ = ["EventType", "Severity", "parse_event_type"]


class Severity(enum.Enum):
    """The last letter of a code."""

    INFORMATION = "I"
    WARNING = "W"
    ERROR = "E"


class EventType(enum.Enum):
    """What happened. The value is ``(event_type, event_code, meaning)``."""

    USER_LOGIN = "user.login", "T1000I", "A user logged in"
    USER_LOGIN_FAILED = "user.login.failed", "T1001W", "A login was refused"
    USER_LOGOUT = "user.logout", "T1002I", "A user ended a web or API session"
    USER_LOCKED_OUT = (
        "user.locked.out",
        "T1004W",
        "A user is kept out for a while after too many failed logins",
    )
    USER_CERT_ISSUED = "user.cert.issued", "T1003I", "A user got certificates"
    USER_CREATED = "user.created", "T1010I", "A user was created"
    USER_UPDATED = "user.updated", "T1011I", "A user's roles, traits or password were changed"
    USER_DELETED = "user.deleted", "T1012I", "A user was deleted"
    USER_MFA_ADDED = "user.mfa.added", "T1020I", "A second factor was enrolled"
    USER_MFA_REMOVED = "user.mfa.removed", "T1021W", "A second factor was removed"
    USER_MFA_PROVEN = "user.mfa.proven", "T1022I", "A user showed a second factor for a session"
    USER_MFA_REFUSED = "user.mfa.refused", "T1023W", "A proof for a session was refused"
    ROLE_CREATED = "role.created", "T1030I", "A role was created"
    ROLE_UPDATED = "role.updated", "T1031I", "A role was changed"
    ROLE_DELETED = "role.deleted", "T1032I", "A role was deleted"
    CONNECTOR_CREATED = "connector.created", "T1040I", "A single sign-on connector was created"
    CONNECTOR_UPDATED = "connector.updated", "T1041I", "A single sign-on connector was changed"
    CONNECTOR_DELETED = "connector.deleted", "T1042I", "A single sign-on connector was deleted"
    DEVICE_ENROLLED = "device.enrolled", "T1050I", "A user enrolled a device, which waits for approval"
    DEVICE_APPROVED = "device.approved", "T1051I", "A device is trusted from now on"
    DEVICE_REMOVED = "device.removed", "T1052W", "A device is no longer trusted"

    SESSION_START = "session.start", "T2000I", "An SSH session began"
    SESSION_END = "session.end", "T2001I", "An SSH session ended"
    SESSION_JOIN = "session.join", "T2002I", "A user began to watch a live session"
    SESSION_KILLED = "session.killed", "T2004W", "An administrator ended an SSH session"
    SESSION_UPLOAD = "session.upload", "T2003I", "A recording arrived at the hub"
    SCP_TRANSFER = "scp.transfer", "T2010I", "A file was copied with scp"
    SFTP_OPEN = "sftp.open", "T2011I", "A file was opened over SFTP"
    SFTP_CLOSE = "sftp.close", "T2012I", "A file was closed over SFTP"
    SFTP_REMOVE = "sftp.remove", "T2013I", "A file was removed over SFTP"
    SFTP_RENAME = "sftp.rename", "T2014I", "A file was renamed over SFTP"
    PORT_FORWARD = "port.forward", "T2020I", "A port was forwarded"
    RECORDING_ACCESSED = "recording.accessed", "T2030I", "A recording was read"

    NODE_JOINED = "node.joined", "T3000I", "An agent joined"
    NODE_LEFT = "node.left", "T3001I", "An agent left or was removed"
    TOKEN_CREATED = "token.created", "T3010I", "A join token was created"
    TOKEN_USED = "token.used", "T3011I", "A join token was used"
    TOKEN_DELETED = "token.deleted", "T3012I", "A join token was deleted"

    AUTHZ_DENIED = "authz.denied", "T4000W", "A user was refused an action on the cluster"
    ACCESS_DENIED = "access.denied", "T4001W", "Access to a node or application was refused"

    ACCESS_REQUEST_CREATED = "access_request.created", "T5000I", "Access was asked for"
    ACCESS_REQUEST_APPROVED = "access_request.approved", "T5001I", "An access request was approved"
    ACCESS_REQUEST_DENIED = "access_request.denied", "T5002I", "An access request was denied"
    ACCESS_REQUEST_EXPIRED = "access_request.expired", "T5003I", "An access request ran out"
    ACCESS_REQUEST_CANCELLED = "access_request.cancelled", "T5004I", "An access request was withdrawn"
    ACCESS_REQUEST_REVOKED = "access_request.revoked", "T5005W", "Approved access was taken back"
    ACCESS_REQUEST_REVIEWED = "access_request.reviewed", "T5006I", "A reviewer spoke about an access request"
    LOCK_CREATED = "lock.created", "T5010W", "A lock was put on a user, role, node, login or agent"
    LOCK_DELETED = "lock.deleted", "T5011I", "A lock was lifted"

    APP_CREATED = "app.created", "T6000I", "An application was registered"
    APP_UPDATED = "app.updated", "T6001I", "An application was changed"
    APP_DELETED = "app.deleted", "T6002I", "An application was removed"
    APP_ENABLED = "app.enabled", "T6003I", "An application was enabled"
    APP_DISABLED = "app.disabled", "T6004I", "An application was disabled"
    APP_REQUEST = "app.request", "T6010I", "A request was forwarded to an application"
    APP_LOGIN = "app.login", "T6020I", "A user's browser came to an application with a session of its own"
    APP_LOGIN_FAILED = "app.login.failed", "T6021W", "A browser that came to an application was refused"
    APP_LOGOUT = "app.logout", "T6022I", "A browser's session at an application was ended"
    APP_SESSION_START = "app.session.start", "T6011I", "A connection to an application began"
    APP_SESSION_END = "app.session.end", "T6012I", "A connection to an application ended"

    CA_ROTATED = "ca.rotated", "T7000W", "A certificate authority changed its key or phase"
    HUB_STARTED = "hub.started", "T7010I", "A hub began to serve"
    HUB_STOPPED = "hub.stopped", "T7011I", "A hub stopped serving"

    @property
    def type_name(self) -> str:
        """``session.start``: what ``event_type`` holds."""
        return self.value[0]

    @property
    def code(self) -> str:
        """``T2000I``: what ``event_code`` holds."""
        return self.value[1]

    @property
    def meaning(self) -> str:
        """One sentence for people."""
        return self.value[2]

    @property
    def severity(self) -> Severity:
        """The severity in the code."""
        return Severity(self.code[-1])


BY_NAME = {event_type.type_name: event_type for event_type in EventType}


def parse_event_type(name: str) -> EventType:
    """The type called ``name`` (``session.start``). Raises ValueError, which lists some known names."""
    if name in BY_NAME:
        return BY_NAME[name]
    group = name.partition(".")[0]
    near = [known for known in BY_NAME if known.startswith(f"{group}.")] or ["session.start", "user.login"]
    raise ValueError(f"unknown event type {name!r}; there are, for instance, {', '.join(near[:6])}")
