# SPDX-License-Identifier: Apache-2.0
"""Header fields that a client may not bring along (threats D4, D6, D7, D13).

Programs disagree about ``X-Mezite-User``, ``X_Mezite_User`` and ``x.mezite.user``; some take all of them for one
name. So whatever could be read as a field that only the hub writes is dropped, in every spelling, and so is
whatever speaks about the connection rather than the request.
"""

from collections.abc import Collection, Iterable
from typing import Final

__all__ = ["is_reserved", "without_reserved"]

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


def is_reserved(name: str) -> bool:
    """Whether a client's field of that name is dropped.

    A name with an underscore always is: CGI turns ``-`` into ``_``, so both would be the same to what stands behind.
    """
    spelled = name.lower().translate(ONE_SPELLING)
    return (
        "_" in name
        or spelled == "forwarded"
        or spelled in HOP_BY_HOP
        or spelled.startswith(RESERVED_PREFIXES)
    )


def without_reserved(
    fields: Iterable[tuple[bytes, bytes]], *, kept: Collection[bytes] = ()
) -> list[tuple[bytes, bytes]]:
    """Return the fields that an application may see, in their order.

    `kept` are names, in lower case, that this one application understands and takes from anybody: exactly so spelled.
    """
    return [
        (name, value) for name, value in fields if name in kept or not is_reserved(name.decode("latin-1"))
    ]
