# SPDX-License-Identifier: Apache-2.0
"""The two kinds of protocol error: ours and theirs."""

__all__ = ["LocalProtocolError", "ProtocolError", "RemoteProtocolError"]


class ProtocolError(Exception):
    """A rule of a protocol was broken. Only the two subclasses are ever raised."""

    def __init__(self, message: str) -> None:
        if type(self) is ProtocolError:
            raise TypeError("raise LocalProtocolError or RemoteProtocolError")
        super().__init__(message)


class LocalProtocolError(ProtocolError):
    """The caller asked for something that the protocol does not allow now: a bug on this side.

    The object that raised it is unchanged and stays usable.
    """


class RemoteProtocolError(ProtocolError):
    """The peer broke the rule. ``code`` is what to tell it in the protocol at hand; 0 when there is none.

    The object that raised it accepts no more input.
    """

    def __init__(self, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.code = code
