# SPDX-License-Identifier: Apache-2.0
import pytest

from mezite.config.schema import HubConfig
from mezite.config.webhooks import WebhooksConfig
from mezite.hub.webhook_receiver import WebhookSecretError, configured_webhook

URL = "https://hooks.example.com/mezite"


def config(path, **more):
    return HubConfig(webhooks=WebhooksConfig(url=URL, secret_file=str(path), **more))


def test_nobody_is_told_unless_somebody_is_named():
    assert configured_webhook(HubConfig()) is None


def test_the_receiver(tmp_path):
    path = tmp_path / "secret"
    path.write_text("0123456789abcdef\n")
    webhook = configured_webhook(config(path, events=("approved",)))
    assert (webhook.url.text, webhook.secret.reveal()) == (URL, "0123456789abcdef")
    assert (webhook.events, webhook.allow_private) == (("approved",), False)
    assert "0123456789abcdef" not in repr(webhook)


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"short\n", "5 characters"), (b"x" * 4097, "4097 characters"), (b"\xff" * 20, "not text")],
)
def test_bad_secrets(tmp_path, content, why):
    path = tmp_path / "secret"
    path.write_bytes(content)
    with pytest.raises(WebhookSecretError, match=why):
        configured_webhook(config(path))


def test_no_file(tmp_path):
    with pytest.raises(WebhookSecretError, match="No such file"):
        configured_webhook(config(tmp_path / "nowhere"))
