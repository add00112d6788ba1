# SPDX-License-Identifier: Apache-2.0
"""From `webhooks` in the configuration to whom the hub tells."""

from __future__ import annotations

from pathlib import Path

from mezite.config.schema import HubConfig
from mezite.core.errors import ExplainedError
from mezite.core.oidc.provider_url import parse_provider_url
from mezite.core.secret import Secret
from mezite.services.requests.webhooks import Webhook

__all__ = ["WebhookSecretError", "configured_webhook"]

MIN_SECRET = 16
"""Characters: fewer can be guessed from one signed message."""

MAX_SECRET = 4096
"""Whoever gives a longer file has given the wrong one."""


class WebhookSecretError(ExplainedError):
    """The secret cannot be used: `what`, `why`, and a `hint` what to do."""

    exit_code = 2
    """Invalid configuration."""


def configured_webhook(config: HubConfig) -> Webhook | None:
    """Return the receiver, None when there is none. :raises WebhookSecretError: its secret cannot be used."""
    if config.webhooks.url is None or config.webhooks.secret_file is None:
        return None
    return Webhook(
        url=parse_provider_url(config.webhooks.url, plain_on_loopback=True),
        secret=_secret(Path(config.webhooks.secret_file)),
        events=config.webhooks.events,
        allow_private=config.webhooks.allow_private,
    )


def _secret(path: Path) -> Secret:
    hint = f"write at least {MIN_SECRET} random characters into it, readable by the hub only"
    try:
        with path.open("rb") as file:
            text = file.read(MAX_SECRET + 1).decode().strip()
    except OSError as error:
        raise WebhookSecretError(f"cannot read {path}", error.strerror or str(error), hint) from None
    except UnicodeDecodeError:
        raise WebhookSecretError(f"cannot use {path}", "it is not text", hint) from None
    if not MIN_SECRET <= len(text) <= MAX_SECRET:
        raise WebhookSecretError(f"cannot use {path}", f"it has {len(text)} characters", hint)
    return Secret(text)
