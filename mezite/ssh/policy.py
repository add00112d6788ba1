# SPDX-License-Identifier: Apache-2.0
"""The questions the SSH server asks and what it tells: it decides nothing itself."""

from __future__ import annotations

import enum
from typing import Protocol

import attrs

__all__ = [
    "ChannelKind",
    "NodePolicy",
    "PeerAddress",
    "Permissions",
    "Refusal",
    "RefusalInfo",
    "SessionHooks",
    "SessionInfo",
    "SessionOutcome",
    "SshGrant",
]


@attrs.frozen(kw_only=True)
class Permissions:
    """What a login may do besides running a program without a terminal. Nothing, unless said."""

    pty: bool = False
    port_forwarding: bool = False
    agent_forwarding: bool = False
    file_copy: bool = False


@attrs.frozen(kw_only=True)
class SshGrant:
    """A certificate the policy accepts for a login."""

    user: str
    """The person."""
    login: str
    """The account on the node; what the client asked for."""
    permissions: Permissions = Permissions()
    certificate_id: str = ""
    """What audit events call the certificate: its key id or serial."""
    expires_at: float = float("inf")
    """Seconds since the epoch, from the certificate. The policy refuses channels after it."""
    force_command: str | None = None
    """Run instead of whatever the client asks for."""
    needs_proof: bool = False
    """The certificate is not enough: something has to be shown in a dialogue before the login is let in."""


@attrs.frozen(kw_only=True)
class Refusal:
    """A no, with its reason in one line."""

    message: str
    explain: bool = False
    """The certificate is genuine, so whoever proves to hold its key may hear the reason. Strangers hear
    nothing.
    """


class ChannelKind(enum.Enum):
    """What :meth:`NodePolicy.authorize_channel` is asked about; the target in brackets."""

    SESSION = "session"
    """A session channel ("")."""
    SHELL = "shell"
    """A login shell ("")."""
    EXEC = "exec"
    """A command (the command)."""
    SUBSYSTEM = "subsystem"
    """A subsystem (its name)."""
    PTY = "pty"
    """A terminal for a session (the value of TERM)."""
    DIRECT_TCPIP = "direct-tcpip"
    """A connection from the node (host:port)."""
    TCPIP_FORWARD = "tcpip-forward"
    """A port on the node (host:port)."""
    AGENT_FORWARDING = "agent-forwarding"
    """The client's key agent, for programs on the node ("")."""


class NodePolicy(Protocol):
    """The one place that says yes or no. Plain functions: no I/O, quick, thread-safe. An exception is a
    no.
    """

    def authenticate(self, login: str, certificate: bytes) -> SshGrant | Refusal:
        """Whether ``certificate`` (the blob as received, of any quality) may log in as ``login``.

        Called on the transport's thread, for an offer and again for the signed request, so it must neither
        count nor record. Only the answer to a request whose signature was verified is ever used as an
        identity (threat A2).
        """

    def authorize_channel(self, grant: SshGrant, kind: ChannelKind, target: str) -> Refusal | None:
        """Whether the login may do this now; ``None`` is yes. Asked at each channel and each request (threat
        A12).
        """


@attrs.frozen(kw_only=True)
class PeerAddress:
    """Both ends of the client's connection, as the client's side of the system knows them."""

    client_ip: str
    client_port: int = 0
    server_ip: str = "127.0.0.1"
    server_port: int = 22

    def __str__(self) -> str:
        host = f"[{self.client_ip}]" if ":" in self.client_ip else self.client_ip
        return f"{host}:{self.client_port}"


@attrs.frozen(kw_only=True)
class SessionInfo:
    """One thing a login does on the node."""

    session_id: str
    grant: SshGrant
    kind: ChannelKind
    """SHELL, EXEC, SUBSYSTEM, DIRECT_TCPIP or TCPIP_FORWARD."""
    target: str
    """The command, the subsystem's name or host:port."""
    pty: bool
    client: PeerAddress


@attrs.frozen(kw_only=True)
class SessionOutcome:
    """How it ended. Nothing but ``error`` when it never ran or the connection was lost."""

    exit_status: int | None = None
    signal: str | None = None
    """Name without SIG."""
    error: str | None = None
    bytes_in: int = 0
    """From the client."""
    bytes_out: int = 0
    """To the client."""


@attrs.frozen(kw_only=True)
class RefusalInfo:
    """Something was asked for and denied."""

    login: str
    user: str | None
    """``None`` when authentication itself was refused."""
    kind: ChannelKind | None
    """``None`` for authentication."""
    target: str
    message: str
    client: PeerAddress


class SessionHooks(Protocol):
    """Told what happens, in Trio. An exception from ``session_started`` prevents the session."""

    async def session_started(self, info: SessionInfo) -> None:
        """Before any byte flows."""

    async def session_ended(self, info: SessionInfo, outcome: SessionOutcome) -> None:
        """Once for each session that started, also when it is cancelled."""

    async def refused(self, info: RefusalInfo) -> None:
        """An authentication with a proven key, a channel or a request was denied."""
