# SPDX-License-Identifier: Apache-2.0
import json

import attrs
import pytest
import trio

from mezite.config.schema import HubConfig
from mezite.config.webhooks import WebhooksConfig
from mezite.core.rbac.role_document import role_document
from mezite.core.rbac.roles import Conditions, Role
from mezite.hub.assembly import open_hub
from mezite.hub.webhook_receiver import WebhookSecretError, configured_webhook
from mezite.services.identity.identities import user_of_session
from mezite.services.requests.request_parts import NewRequest
from mezite.services.sources import system_sources
from mezite.storage import roles, users, webhook_outbox
from mezite.storage.users import NewUser
from mezite.storage.web_sessions import WebSessionKind, WebSessionRow

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


async def test_a_hub_tells_of_its_requests(tmp_path):
    """From the configuration to the outbox: the receiver cannot be called from here, and what waits is kept."""
    path = tmp_path / "secret"
    path.write_text("0123456789abcdef")
    told = attrs.evolve(config(path), data_dir=str(tmp_path / "hub"))
    role = Role(name="developer", allow=Conditions(request_roles=("auditor",)))
    async with open_hub(told, system_sources()) as hub, trio.open_nursery() as nursery:
        await nursery.start(hub.ground.audit.run)
        database, services = hub.ground.database, hub.services
        document = json.dumps(role_document(role))
        await database.write(roles.put, name="developer", document=document, now=1)
        await database.write(users.insert, user=NewUser(name="alice", roles=("developer",)), now=1)
        user = await database.read(users.get, name="alice")
        session = WebSessionRow(
            token_hash="0" * 64,
            user_name="alice",
            kind=WebSessionKind.API,
            created_at=1,
            expires_at=2,
            client_ip="x",
        )
        alice = user_of_session(session, user, (role,))
        new = NewRequest(roles=("auditor",), reason="incident 4711")
        made = await services.requests.create(alice, new, client_address="192.0.2.7:1")
        waiting = await database.write(
            webhook_outbox.take, now=hub.ground.sources.now() + 1, waits_ms=(1000,)
        )
        assert json.loads(waiting.body)["request"]["id"] == made.row.request_id
        nursery.cancel_scope.cancel()
