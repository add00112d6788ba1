# SPDX-License-Identifier: Apache-2.0
"""What an application may ask about a request beyond ASGI, for passing it on.

``scope["extensions"]["mezite.request"]`` has it. An application that reads the body needs none of it.
"""

from __future__ import annotations

from typing import Final

import attrs

from mezite.core.http1.request_head import RequestHead

__all__ = ["PATIENCE", "REQUEST", "RequestFacts", "facts_of"]

REQUEST: Final = "mezite.request"
"""The name of the extension in the scope."""

PATIENCE: Final = "mezite.patience"
"""The name of the extension that gives this request the time its host has for those who are no strangers
(`HostRules.patient`): call it before the body is read and the response begins."""


@attrs.frozen(kw_only=True)
class RequestFacts:
    """How the body comes. The fields that say so may be gone from the scope by now."""

    content_length: int | None
    """bytes; None when not told"""
    chunked: bool
    expects_continue: bool
    """whether the client waits with the body; the first ``receive`` tells it to go on"""

    @property
    def has_body(self) -> bool:
        """Whether a byte of a body may come."""
        return self.chunked or bool(self.content_length)


def facts_of(head: RequestHead) -> RequestFacts:
    """Return the facts about a request that has passed the gate."""
    has_body = head.chunked or bool(head.content_length)
    return RequestFacts(
        content_length=head.content_length,
        chunked=head.chunked,
        # Without a body, or from HTTP/1.0, there is nothing to wait for (RFC 9110 section 10.1.1).
        expects_continue=has_body and head.minor_version == 1 and head.field(b"expect") is not None,
    )
