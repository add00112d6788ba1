# SPDX-License-Identifier: Apache-2.0
"""Header fields that a client may not bring along (threats D4, D6, D7, D13).

Programs disagree about ``X-Mezite-User``, ``X_Mezite_User`` and ``x.mezite.user``; some take all of them for one
name. So whatever could be read as a field that only the hub writes is dropped, in every spelling, and so is
whatever speaks about the connection rather than the request: the fields that have always done so, and those that the
client's own `Connection` names.
"""

from collections.abc import Callable, Collection, Iterable
from functools import lru_cache
from typing import Final, TypeVar

__all__ = ["connection_tokens", "is_dropped", "is_reserved", "one_spelling", "spelled", "without_reserved"]

RESERVED_PREFIXES: Final = ("x-mezite-", "mezite-", "x-forwarded-", "x-real-")

HOP_BY_HOP: Final = frozenset(
    {
        "connection",
        "http2-settings",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""RFC 9110 section 7.6.1, and the two of the h2c upgrade, which this front does not offer."""

ONE_SPELLING: Final = str.maketrans("_. ", "---")

NOT_THE_CONNECTION: Final = frozenset({b"host", b"content-length"})
"""Whom a request is for and where it ends stay, though a client's `Connection` names them."""


LONGEST_KEPT: Final = 64
"""Characters of a name whose verdict is remembered: the names of browsers and frameworks, a few hundred in all."""

Name = TypeVar("Name", str, bytes)
Verdict = TypeVar("Verdict")


def remembered(judge: Callable[[Name], Verdict]) -> Callable[[Name], Verdict]:
    """A request has some thirty fields, and each is asked about several times: a tenth of what forwarding one costs."""
    kept = lru_cache(maxsize=1024)(judge)

    def verdict(name: Name) -> Verdict:
        return kept(name) if len(name) <= LONGEST_KEPT else judge(name)

    return verdict


@remembered
def one_spelling(name: str) -> str:
    """What a name is to the least careful reader: lower case, with hyphens only."""
    return name.lower().translate(ONE_SPELLING)


@remembered
def spelled(name: bytes) -> str:
    """`one_spelling` of a name as it came."""
    return one_spelling(name.decode("latin-1"))


def connection_tokens(fields: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """The names, in lower case, of fields that are for this connection only (RFC 9110 section 7.6.1)."""
    values = [value for name, value in fields if name.lower() == b"connection"]
    tokens = {token.strip(b" \t").lower() for token in b",".join(values).split(b",")}
    return frozenset(tokens - NOT_THE_CONNECTION - {b""})


def is_reserved(name: str) -> bool:
    """Whether a client's field of that name is dropped.

    A name with an underscore always is: CGI turns ``-`` into ``_``, so both would be the same to what stands behind.
    """
    spelled = one_spelling(name)
    return (
        "_" in name
        or spelled == "forwarded"
        or spelled in HOP_BY_HOP
        or spelled.startswith(RESERVED_PREFIXES)
    )


@remembered
def is_dropped(name: bytes) -> bool:
    """`is_reserved` of a name as it came."""
    return is_reserved(name.decode("latin-1"))


def without_reserved(
    fields: Iterable[tuple[bytes, bytes]], *, kept: Collection[bytes] = ()
) -> list[tuple[bytes, bytes]]:
    """Return the fields that an application may see, in their order.

    `kept` are names, in lower case, that this one application understands and takes from anybody: exactly so spelled.
    """
    fields = list(fields)
    named = connection_tokens(fields)
    return [
        (name, value)
        for name, value in fields
        if name in kept or (name.lower() not in named and not is_dropped(name))
    ]
