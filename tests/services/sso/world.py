# SPDX-License-Identifier: Apache-2.0
"""Single sign-on upon the services' world, and a browser that goes to a provider and back."""

import json
from urllib.parse import parse_qs, urlsplit

import attrs

from mezite.core.oidc.connector import ConnectorKind
from mezite.services.authentication.refusal_log import RefusalLog
from mezite.services.public_addresses import PublicAddresses
from mezite.services.sso.assembly import SsoGround, SsoServices, open_sso
from mezite.services.sso.login import CameBack
from tests.services.sso.identity_provider import FakeProvider
from tests.services.world import CLIENT, World


def open_world_sso(world: World) -> SsoServices:
    addresses = PublicAddresses("hub.example.com")
    addresses.bound({"web": "0.0.0.0:3080"})
    return open_sso(
        SsoGround(
            database=world.database,
            audit=world.audit,
            refusals=RefusalLog(world.audit),
            sources=world.sources,
            addresses=addresses,
            authenticator=world.authenticator,
            certificates=world.certificates,
        )
    )


async def connect(sso: SsoServices, provider: FakeProvider, **spec: object):
    """Make the connector of a provider."""
    document = json.dumps(provider.document(**spec))
    return (await sso.catalog.put(document, by="root", client_address=CLIENT))[0]


@attrs.define
class Visitor:
    """A browser: its cookie, and the way to the provider and back."""

    sso: SsoServices
    provider: FakeProvider
    cookie: str | None = None
    client: str = CLIENT

    async def begin(self, name: str = "idp", **options: object) -> str:
        """Where the browser is sent."""
        begun = await self.sso.login.begin(
            name, browser_secret=self.cookie, client_address=self.client, **options
        )
        self.cookie = begun.browser_secret.reveal()
        return begun.url

    async def come_back(self, parameters, kind: ConnectorKind = ConnectorKind.OIDC) -> CameBack:
        return await self.sso.login.come_back(
            kind, parameters, browser_secret=self.cookie, client_address=self.client
        )

    async def sign_in(self, name: str = "idp", **options: object) -> CameBack:
        kind = ConnectorKind.GITHUB if name == "github" else ConnectorKind.OIDC
        return await self.come_back(self.provider.authorize(await self.begin(name, **options)), kind)


def asked_of(url: str) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(urlsplit(url).query).items()}
