# SPDX-License-Identifier: Apache-2.0
"""What the agent itself demands of a user: the certificate, and that it fits what the hub allowed (threat A12)."""

from __future__ import annotations

from collections.abc import Callable, Collection

import attrs

from mezite.core.certificates.refusal import CertificateRefused, Reason
from mezite.core.certificates.ssh_verify import verify_user_certificate
from mezite.core.certificates.verified import VerifiedUserCertificate
from mezite.core.mux.header import ChannelHeader
from mezite.ssh.policy import ChannelKind, Permissions, Refusal, SshGrant

__all__ = ["HubDecision", "NodePolicyOfConnection"]

_FORWARDING = frozenset({ChannelKind.DIRECT_TCPIP, ChannelKind.TCPIP_FORWARD})

_EVERY_LOGIN = "*"

_FILE_COPY_SUBSYSTEMS = frozenset({"sftp"})


@attrs.frozen(kw_only=True)
class HubDecision:
    """What the hub allowed, as it came with the channel."""

    user: str
    logins: frozenset[str]
    permissions: frozenset[str]
    decision_id: str
    connection_id: str
    client_ip: str
    client_port: int
    idle_timeout: int = 0
    """Seconds without a byte of any session after which the connection ends; 0: never."""
    unproven: frozenset[str] = frozenset()
    """Logins for which a second factor has to be shown to the hub before anybody is let in; `*`: all of them."""

    @classmethod
    def of_header(cls, header: ChannelHeader) -> HubDecision:
        """Read it from the channel's header. What is missing is not allowed."""
        host, _, port = header.client_address.rpartition(":")
        return cls(
            user=header.user,
            logins=_names(header.attributes.get("logins", "")),
            permissions=_names(header.attributes.get("permissions", "")),
            decision_id=header.attributes.get("decision_id", ""),
            connection_id=header.trace_id,
            client_ip=host.strip("[]"),
            client_port=int(port) if _is_number(port, 5) else 0,
            idle_timeout=_seconds(header.attributes.get("idle_timeout", "0")),
            unproven=_names(header.attributes.get("unproven", "")),
        )


class NodePolicyOfConnection:
    """The policy of one SSH connection; see `mezite.ssh.policy.NodePolicy`. Called from the transport's thread.

    `own_login`: an agent that does not run as root can serve only the account it runs as; None when it is root.
    """

    def __init__(
        self,
        decision: HubDecision,
        *,
        trusted_cas: Callable[[], Collection[bytes]],
        now: Callable[[], int],
        own_login: str | None,
    ) -> None:
        self._decision = decision
        self._trusted_cas = trusted_cas
        self._now = now
        self._own_login = own_login

    def authenticate(self, login: str, certificate: bytes) -> SshGrant | Refusal:
        """Accept only a certificate of a user-SSH CA, of the user whom the hub let through, for an allowed login."""
        try:
            verified = verify_user_certificate(
                certificate,
                trusted_cas=self._trusted_cas(),
                login=login,
                source_address=self._decision.client_ip,
                now=self._now() // 1000,
                honours_force_command=True,
            )
        except CertificateRefused as refused:
            return Refusal(message=self._explain(refused, login), explain=_genuine(refused.reason))
        objection = self._objection(verified, login)
        return self._grant(verified, login) if objection is None else Refusal(message=objection, explain=True)

    def authorize_channel(self, grant: SshGrant, kind: ChannelKind, target: str) -> Refusal | None:
        """Refuse after the certificate's expiry, and what the permissions leave out."""
        if self._now() / 1000 >= grant.expires_at:
            return Refusal(message="your certificate has expired: run msh login", explain=True)
        allowed = grant.permissions
        refused = (
            (kind in _FORWARDING and not allowed.port_forwarding)
            or (kind is ChannelKind.AGENT_FORWARDING and not allowed.agent_forwarding)
            or (kind is ChannelKind.PTY and not allowed.pty)
            or (kind is ChannelKind.SUBSYSTEM and target in _FILE_COPY_SUBSYSTEMS and not allowed.file_copy)
        )
        if refused:
            return Refusal(message=f"your roles do not allow {kind.value}", explain=True)
        return None

    def _objection(self, verified: VerifiedUserCertificate, login: str) -> str | None:
        if verified.key_id != self._decision.user:
            return f"the hub let {self._decision.user} through, this certificate is {verified.key_id}'s"
        if login not in self._decision.logins:
            allowed = ", ".join(sorted(self._decision.logins)) or "none"
            return f"login {login} is not allowed here: you may use {allowed}"
        if self._own_login is not None and login != self._own_login:
            return f"this agent runs as {self._own_login} and can serve only that login"
        return None

    def _grant(self, verified: VerifiedUserCertificate, login: str) -> SshGrant:
        granted, extensions = self._decision.permissions, verified.extensions
        return SshGrant(
            user=verified.key_id,
            login=login,
            permissions=Permissions(
                pty="permit-pty" in extensions,
                port_forwarding="permit-port-forwarding" in extensions and "port_forwarding" in granted,
                agent_forwarding="permit-agent-forwarding" in extensions and "agent_forwarding" in granted,
                file_copy="file_copy" in granted,
            ),
            certificate_id=str(verified.serial),
            expires_at=float(verified.valid_before),
            force_command=verified.force_command,
            needs_proof=not self._decision.unproven.isdisjoint((login, _EVERY_LOGIN)),
        )

    def _explain(self, refused: CertificateRefused, login: str) -> str:
        if refused.reason is Reason.PRINCIPAL_MISMATCH:
            allowed = ", ".join(sorted(self._decision.logins)) or "none"
            return f"login {login} is not allowed here: you may use {allowed}"
        return refused.message


def _genuine(reason: Reason) -> bool:
    """Whether the certificate was found to be ours before the objection: its holder may hear the reason."""
    return reason in {
        Reason.NOT_YET_VALID,
        Reason.EXPIRED,
        Reason.PRINCIPAL_MISMATCH,
        Reason.SOURCE_ADDRESS,
        Reason.UNKNOWN_CRITICAL_OPTION,
    }


def _is_number(text: str, digits: int) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= digits


def _seconds(text: str) -> int:
    """What cannot be read is the strictest: a limit of a newer hub must not become none."""
    return int(text) if _is_number(text, 10) else 1


def _names(text: str) -> frozenset[str]:
    return frozenset(name for name in text.split(",") if name)
