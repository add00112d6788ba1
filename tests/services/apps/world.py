# SPDX-License-Identifier: Apache-2.0
"""Applications upon the services' world, and browsers that come to them."""

import json
from urllib.parse import urlsplit

import attrs

from mezite.core.apps.app import App, AppOptions
from mezite.services.apps.admission import AppAdmission
from mezite.services.apps.logins import AppLogins, HandOver
from mezite.services.apps.sessions import AppSessions, StartedAppSession
from mezite.services.authentication.refusal_log import RefusalLog
from mezite.services.identity.identities import UserIdentity
from mezite.services.login.codes import FactorShown
from mezite.services.public_addresses import PublicAddresses
from mezite.storage import apps as apps_table
from mezite.storage import roles, users
from mezite.storage.web_sessions import WebSessionKind
from tests.services.world import CLIENT, World

HOST, OTHER_HOST = "grafana.apps.example.com", "wiki.apps.example.com"
TARGET = f"https://{HOST}/d/1?x=%2F&y"

GRAFANA = App(name="grafana", uri="http://10.0.3.12:3000", public_addr=HOST, labels={"env": "prod"})
WIKI = App(
    name="wiki",
    uri="http://10.0.3.13:80",
    public_addr=OTHER_HOST,
    labels={"env": "prod"},
    options=AppOptions(cors_origins=(f"https://{HOST}",)),
)


@attrs.define(eq=False)
class AppWorld:
    """Two applications of which each user with the role `access` may use both."""

    world: World
    sessions: AppSessions
    logins: AppLogins
    apps: dict[str, App] = attrs.field(factory=lambda: {HOST: GRAFANA, OTHER_HOST: WIKI})

    async def app_at(self, host: str) -> App | None:
        return self.apps.get(host)

    async def put_role(self, document: dict[str, object]) -> None:
        """Store a role."""
        metadata = document["metadata"]
        await self.world.database.write(
            roles.put, name=metadata["name"], document=json.dumps(document), now=self.world.clock.now
        )

    async def web_session(
        self, name: str = "alice", client: str = CLIENT, factor: FactorShown | None = None
    ) -> UserIdentity:
        """The identity of a browser that is logged in at the hub."""
        user = await self.world.database.read(users.get, name=name)
        started = await self.world.login.start(user, factor, client_address=client, kind=WebSessionKind.WEB)
        return await self.world.authenticator.by_session(started.token.reveal(), WebSessionKind.WEB)


async def open_app_world(world: World) -> AppWorld:
    for number, app in enumerate((GRAFANA, WIKI)):
        await world.database.write(apps_table.insert, app=app, revision=f"r-{number}", now=world.clock.now)
    addresses = PublicAddresses("hub.example.com")
    addresses.bound({"web": "0.0.0.0:3080"})
    common = {"database": world.database, "audit": world.audit, "sources": world.sources}
    sessions = AppSessions(**common)
    apps: AppWorld

    async def app_at(host: str) -> App | None:
        return await apps.app_at(host)

    logins = AppLogins(
        addresses=addresses,
        authenticator=world.authenticator,
        app_at=app_at,
        admission=AppAdmission(audit=world.audit),
        sessions=sessions,
        proofs=world.factors.sessions,
        refusals=RefusalLog(world.audit),
        **common,
    )
    apps = AppWorld(world=world, sessions=sessions, logins=logins)
    return apps


@attrs.define
class Browser:
    """What a browser keeps of one application, and its way there."""

    apps: AppWorld
    host: str = HOST
    state: str | None = None
    client: str = CLIENT

    async def begin(self, target: str = TARGET) -> str:
        """The key that it is sent to the hub with."""
        begun = await self.apps.logins.begin(
            self.host, target, browser_secret=self.state, client_address=self.client
        )
        self.state = begun.browser_secret.reveal()
        return urlsplit(begun.url).path.rpartition("/")[2]

    async def hand_over(self, identity: UserIdentity) -> HandOver | None:
        return await self.apps.logins.enter(identity, await self.begin(), client_address=self.client)

    async def redeem(self, code: str, before: str | None = None) -> tuple[StartedAppSession, str]:
        return await self.apps.logins.redeem(
            code,
            self.host,
            browser_secret=self.state,
            instead_of=before,
            client_address=self.client,
        )

    async def arrive(self, identity: UserIdentity) -> StartedAppSession:
        way_back = await self.hand_over(identity)
        return (await self.redeem(way_back.code.reveal()))[0]
