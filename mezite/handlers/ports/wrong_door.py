# SPDX-License-Identifier: Apache-2.0
"""Peers that came to a port which is not theirs: each is told, in its own protocol, where to go.

The addresses are those that `ping` tells anybody; nothing of what the peer sent is repeated to it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import attrs
import trio

from mezite.core.protocol_sniffer import Protocol
from mezite.net.accept_loop import Connection
from mezite.net.refusal import refuse, refuse_http1, refuse_http2

__all__ = ["WrongDoor"]

_log = logging.getLogger("mezite.ports")

INADEQUATE_SECURITY = 0xC
"""RFC 9113 section 7."""

HANDSHAKE_FAILURE = bytes([21, 3, 3, 0, 2, 2, 40])
"""A fatal alert (RFC 8446 section 6.2): what a TLS client understands of a port without TLS."""

SSH_MSG_DISCONNECT = 1
BY_APPLICATION = 11
"""SSH_DISCONNECT_BY_APPLICATION."""

_SERVES = {
    "web": "browsers and msh login: https://",
    "ssh": "ssh and msh: ",
    "tunnel": "agents (MEZITE_PROXY_ADDR): ",
    "auth": "mezctl and joining agents (MEZITE_AUTH_ADDR): ",
}


@attrs.frozen(kw_only=True)
class WrongDoor:
    """What one port says to those who meant another one."""

    here: str
    """What this port is for, and which setting lets others in: whole sentences, ASCII."""
    addresses: Callable[[], Mapping[str, str]]
    """Where the hub's ports are reached, by listener."""

    async def send_away(self, connection: Connection, protocol: Protocol | None) -> None:
        """Answer a peer that speaks `protocol`; the connection's owner closes it. Takes two seconds at most.

        Who has said nothing (None) is a probe, and nobody's business.
        """
        if protocol is None:
            return
        _log.info(
            "refused a peer at the wrong port",
            extra={
                "client": connection.client_address,
                "listener": connection.listener,
                "speaks": protocol.value,
                "reason": self.here,
            },
        )
        match protocol:
            case Protocol.HTTP1:
                await refuse_http1(connection.stream, 400, self._text())
            case Protocol.HTTP2_PRIOR_KNOWLEDGE:
                await refuse_http2(connection.stream, INADEQUATE_SECURITY, self._text())
            case Protocol.SSH:
                await refuse_ssh(connection.stream, self._text())
            case Protocol.TLS:
                await refuse(connection.stream, HANDSHAKE_FAILURE)

    def _text(self) -> str:
        known = self.addresses()
        where = [f"{_SERVES[name]}{known[name]}" for name in _SERVES if name in known]
        return "\n".join([self.here, *where, ""])


async def refuse_ssh(stream: trio.abc.Stream, text: str) -> None:
    """End an SSH connection ahead of its key exchange with `text`, which clients print (RFC 4253 section 11.1)."""
    words = text.strip().replace("\n", "; ").encode("ascii", "replace")
    payload = bytes([SSH_MSG_DISCONNECT]) + BY_APPLICATION.to_bytes(4) + _string(words) + _string(b"en")
    # Section 6: the packet is a multiple of eight bytes, with at least four of padding.
    padding = 4 + -(5 + len(payload) + 4) % 8
    packet = bytes([padding]) + payload + bytes(padding)
    await refuse(stream, b"SSH-2.0-mezite\r\n" + _string(packet))


def _string(data: bytes) -> bytes:
    return len(data).to_bytes(4) + data
