# SPDX-License-Identifier: Apache-2.0
"""A value that must not be printed, logged or pickled (threats H6, P27), and what is stored of one."""

from __future__ import annotations

import hashlib
import hmac
from typing import NoReturn, final

__all__ = ["Secret", "token_hash"]

REDACTED = "[redacted]"


@final
class Secret:
    """Text that shows itself only when asked by name.

    ``repr``, ``str`` and formatting give a fixed placeholder, so that neither a log line, a traceback with
    locals nor an ``attrs`` repr betrays the value or its length. Comparing takes the same time whatever
    differs (P19).
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text. Every caller of this is a place to review."""
        return self._text

    def __repr__(self) -> str:
        return REDACTED

    def __format__(self, format_spec: str) -> str:
        return REDACTED

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(
            self._text.encode("utf-8", "surrogatepass"), other._text.encode("utf-8", "surrogatepass")
        )

    # A hash of the text would be a way to test guesses; nothing needs secrets as dictionary keys.
    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            "a Secret is not serialised; call reveal() where the text is meant to leave the process"
        )


def token_hash(token: str) -> str:
    """Return what is stored of a random token: SHA-256, hex. 256 random bits need no salt and no slow hash."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
