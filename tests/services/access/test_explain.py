# SPDX-License-Identifier: Apache-2.0
import json

import pytest

from mezite.core.rbac.locks import LockTarget
from mezite.services.access.explain import AccessExplainer
from mezite.services.apps.registration import AppRegistration
from mezite.services.errors import NotFoundError
from mezite.storage import agents, roles, users
from tests.services.access.test_roles import document, put
from tests.services.world import CLIENT, START


async def explain(world, user="alice", node="web-1", login="ubuntu"):
    explainer = AccessExplainer(database=world.database, sources=world.sources, locks=world.lock_feed)
    return await explainer.explain(user, node, login)


async def test_an_allowed_login(world):
    await world.agent("web-1")
    await put(world, document(logins=["{{internal.logins}}", "deploy"]))
    await world.user("alice", ("dev",), ("ubuntu",))
    answer = await explain(world)
    assert answer.allowed
    assert (answer.role, answer.rule) == ("dev", "allow.logins")
    assert answer.logins == {"{{internal.logins}}": ("ubuntu",), "deploy": ("deploy",)}
    assert answer.would_flip == "take role dev from the user"
    assert answer.decision_id


async def test_a_trusted_device_is_named(world):
    await world.agent("web-1")
    await put(world, document(options={"require_trusted_device": True}))
    await world.user("alice", ("dev",), ("ubuntu",))
    answer = await explain(world, login="ubuntu")
    assert (answer.allowed, answer.reason) == (True, "role dev allows it, from a trusted device")


async def test_a_denied_login(world):
    await world.agent("web-1")
    await put(world, document(deny={"logins": ["root"]}))
    await world.user("alice", ("dev", "access"))
    answer = await explain(world, login="root")
    assert (answer.allowed, answer.role, answer.rule) == (False, "dev", "deny.logins")
    assert answer.reason == "role dev denies the login 'root'"
    expected = "let deny.logins of role dev no longer match and add root to allow.logins of role dev"
    assert answer.would_flip == expected


async def test_no_role_speaks_of_it(world):
    await world.agent("web-1")
    await world.user("alice", ())
    answer = await explain(world)
    assert (answer.allowed, answer.role, answer.rule) == (False, "", "")
    assert answer.would_flip == "give the user a role that allows it with the login ubuntu"


async def test_what_stands_in_the_way_of_everybody(world):
    agent = await world.agent("web-1")
    await world.user("alice", ("access",))
    await world.database.write(users.set_disabled, name="alice", disabled=True, now=START)
    answer = await explain(world)
    assert (answer.allowed, answer.reason) == (False, "user alice is disabled")
    assert answer.would_flip == "enable the user"
    answer = await explain(world, login="root")
    assert answer.would_flip == "enable the user and add root to allow.logins of role access"
    await world.database.write(users.set_disabled, name="alice", disabled=False, now=START)
    await world.database.write(agents.lock, agent_id=agent.agent_id, reason="a copy", now=START)
    answer = await explain(world)
    assert (answer.allowed, answer.reason) == (False, "node web-1 is locked: a copy")


async def test_a_role_of_a_newer_hub_that_asks_for_more_than_this_one_can(world):
    """Such a role cannot be stored here; another hub may have."""
    await world.agent("web-1")
    await put(world, document())
    await world.user("alice", ("dev",))
    newer = document(options={"record_session": "node"})
    await world.database.write(roles.put, name="dev", document=newer, now=START)
    answer = await explain(world)
    assert not answer.allowed
    assert answer.reason == "the roles ask for record_session, which this hub cannot do yet"


async def test_a_factor_that_each_session_needs(world):
    await world.agent("web-1")
    await put(world, document())
    await world.user("alice", ("dev",))
    asking = document(options={"require_session_mfa": "totp"})
    await world.database.write(roles.put, name="dev", document=asking, now=START)
    answer = await explain(world)
    assert answer.allowed
    assert answer.reason == "role dev allows it; each session needs MFA (totp)"


@pytest.mark.parametrize(("user", "node", "why"), [("bob", "web-1", "user bob"), ("alice", "x", "node x")])
async def test_what_there_is_not(world, user, node, why):
    await world.agent("web-1")
    await world.user("alice")
    with pytest.raises(NotFoundError, match=why):
        await explain(world, user, node)


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (LockTarget.USER, "alice"),
        (LockTarget.ROLE, "access"),
        (LockTarget.NODE, "web-1"),
        (LockTarget.LOGIN, "ubuntu"),
    ],
)
async def test_a_lock_comes_before_what_the_roles_say(world, target, name):
    """Threat E14: and lifting it is what would flip the answer."""
    await world.agent("web-1")
    await world.user("alice")
    root = await world.user("root", roles=("admin",))
    made = await world.locks.create(target, name, message="lost", by=root, client_address=CLIENT)
    answer = await explain(world)
    assert not answer.allowed
    assert answer.reason == made.row.lock().reason
    assert answer.would_flip == f"lift lock {made.row.id}"


# --- applications ---------------------------------------------------------------------------------------------------


async def explain_app(world, user="alice", app="grafana"):
    explainer = AccessExplainer(database=world.database, sources=world.sources, locks=world.lock_feed)
    return await explainer.explain_app(user, app)


async def register(world, name, uri, **labels):
    registration = AppRegistration(name=name, uri=uri, labels=labels)
    await world.apps.register(registration, by="root", client_address=CLIENT)


async def app_role(world, **spec):
    role = {"kind": "role", "version": "v1", "metadata": {"name": "apps"}, "spec": spec}
    await world.roles.put(json.dumps(role), by="root", client_address=CLIENT)
    await world.user("alice", ("apps",), ())


async def test_an_application(world):
    await register(world, "grafana", "http://g", env="prod", team="a")
    await app_role(world, allow={"app_labels": {"env": ["prod", "dev"]}})
    answer = await explain_app(world)
    assert (answer.allowed, answer.role, answer.rule) == (True, "apps", "allow.app_labels")
    assert (answer.labels, answer.logins) == ({"env": "prod"}, {})
    assert answer.would_flip == "take role apps from the user"


async def test_an_application_of_others(world):
    await register(world, "grafana", "http://g", env="secret")
    await app_role(world, allow={"app_labels": {"env": ["prod"]}})
    answer = await explain_app(world)
    assert (answer.allowed, answer.reason) == (False, "no role allows this application")
    assert answer.would_flip == "set the label env=prod on it"
    with pytest.raises(NotFoundError, match="application wiki does not exist"):
        await explain_app(world, app="wiki")
    with pytest.raises(NotFoundError, match="user bob does not exist"):
        await explain_app(world, user="bob")


async def test_what_stands_in_the_way_at_an_application(world):
    await register(world, "grafana", "http://g", env="prod")
    await register(world, "redis", "tcp://redis:6379", env="prod")
    await app_role(world, allow={"app_labels": {"*": "*"}}, options={"require_trusted_device": True})
    answer = await explain_app(world)
    assert (answer.allowed, answer.reason) == (True, "role apps allows it, from a trusted device")
    tcp = await explain_app(world, app="redis")
    assert not tcp.allowed
    assert tcp.reason == "the roles ask for a trusted device, which a TCP application cannot check"
    assert tcp.would_flip == "take the option out of the roles"
    await world.apps.set_enabled("grafana", False, by="root", client_address=CLIENT)
    off = await explain_app(world)
    assert (off.allowed, off.reason) == (False, "application grafana is disabled")
    assert off.would_flip == "`mezctl apps enable grafana`"
    root = await world.user("root", ("admin",))
    await world.locks.create(LockTarget.USER, "alice", message="lost", by=root, client_address=CLIENT)
    assert (await explain_app(world)).would_flip.startswith("lift lock ")


async def test_a_second_factor_is_named_and_tcp_cannot_ask_for_it(world):
    await register(world, "grafana", "http://g", env="prod")
    await register(world, "redis", "tcp://redis:6379", env="prod")
    await app_role(world, allow={"app_labels": {"*": "*"}}, options={"require_session_mfa": "webauthn"})
    answer = await explain_app(world)
    assert (answer.allowed, answer.reason) == (True, "role apps allows it; each session needs MFA (webauthn)")
    tcp = await explain_app(world, app="redis")
    assert (tcp.allowed, tcp.reason) == (
        False,
        "the roles ask for a second factor for each session, which a TCP application cannot ask for",
    )
