# SPDX-License-Identifier: Apache-2.0
"""Keys of the notifications about access requests."""

from __future__ import annotations

import attrs

from mezite.config.keys import key
from mezite.config.kinds import BOOLEAN, PATH, REQUEST_EVENTS, WEBHOOK_URL

__all__ = ["WebhooksConfig"]


@attrs.frozen(kw_only=True)
class WebhooksConfig:
    """``webhooks``."""

    url: str | None = key(
        WEBHOOK_URL,
        None,
        "Who is told what happens to access requests; https, or http to this machine.",
        example="https://hooks.example.com/mezite",
    )
    secret_file: str | None = key(
        PATH,
        None,
        "File with the secret that signs what is sent, at least 16 characters.",
        example="/etc/mezite/webhook-secret",
    )
    events: tuple[str, ...] = key(
        REQUEST_EVENTS, (), "Which events are told: created, approved and so on; empty means all."
    )
    allow_private: bool = key(
        BOOLEAN, False, "Whether the URL may lead into private networks or to this machine."
    )
