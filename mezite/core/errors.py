# SPDX-License-Identifier: Apache-2.0
"""What goes wrong: protocol errors, ours and theirs, and failures that are explained to people."""

__all__ = ["ExplainedError", "LocalProtocolError", "ProtocolError", "RemoteProtocolError"]


class ExplainedError(Exception):
    """A failure in words for whoever has to do something about it.

    ``what`` failed, ``why``, and a ``hint`` what to do; the last two may be empty. As a string it is the sentence
    that all programs print behind ``error: ``.
    """

    def __init__(self, what: str, why: str = "", hint: str = "") -> None:
        reason = f"{what}: {why}" if why else what
        super().__init__(f"{reason}; {hint}" if hint else reason)
        self.what = what
        self.why = why
        self.hint = hint


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
