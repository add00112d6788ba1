# SPDX-License-Identifier: Apache-2.0
"""What can go wrong in an SSH connection, told apart by whose fault it is."""

from __future__ import annotations

__all__ = ["AuthenticationRefusedError", "ConnectionLostError", "PeerProtocolError", "SpawnError", "SshError"]


class SshError(Exception):
    """Everything this package raises on purpose.

    ``code`` is the reason number of RFC 4253 section 11.1 that goes into the DISCONNECT message.
    """

    code = 11  # by application


class PeerProtocolError(SshError):
    """The peer broke the protocol or a limit; the connection is closed with its text."""

    code = 2  # protocol error


class AuthenticationRefusedError(SshError):
    """The peer has used up its attempts to authenticate."""

    code = 14  # no more authentication methods available


class ConnectionLostError(SshError):
    """The connection is gone: closed by the peer, dead, or cut off by a deadline."""

    code = 10  # connection lost


class IdleTooLongError(SshError):
    """No data either way for as long as is allowed."""


class SpawnError(SshError):
    """A child process could not be started; the text is fit for the user's terminal."""
