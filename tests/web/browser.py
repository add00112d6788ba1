# SPDX-License-Identifier: Apache-2.0
"""The web application behind the real HTTP/1.1 front, on a stream in memory."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import attrs
import trio
import trio.testing

from mezite.net.http1_client import Response, request
from mezite.net.http1_server import serve_http1
from mezite.services.access.verb_registry import VerbRegistry
from mezite.services.apps.entry import AppEntryGround, open_app_entry
from mezite.services.apps.launcher import AppLauncher
from mezite.services.apps.sessions import AppSessions
from mezite.services.authentication.refusal_log import RefusalLog
from mezite.services.public_addresses import PublicAddresses
from mezite.services.sso.assembly import SsoGround, open_sso
from mezite.services.users.own_sessions import OwnSessions
from mezite.web.app import WebServices, create_app
from mezite.web.built_pages import BuiltPages
from tests.services.world import CLIENT, World

API = "/v1/webapi/"


def make_app(
    world: World,
    verbs: VerbRegistry | None = None,
    pages: BuiltPages | None = None,
    apps_connector: str | None = None,
):
    """The application and the services it was made with."""
    addresses = PublicAddresses("hub.example.com")
    addresses.bound({"web": "0.0.0.0:3080", "ssh": "0.0.0.0:3023"})
    services = WebServices(
        authenticator=world.authenticator,
        login=world.login,
        certificates=world.certificates,
        authorities=world.authorities,
        audit=world.audit,
        refusals=world.refusals,
        sources=world.sources,
        addresses=addresses,
        requests=world.requests,
        sso=open_sso(
            SsoGround(
                database=world.database,
                audit=world.audit,
                refusals=RefusalLog(world.audit),
                sources=world.sources,
                addresses=addresses,
                authenticator=world.authenticator,
                certificates=world.certificates,
            )
        ),
        devices=world.devices,
        sessions=OwnSessions(
            database=world.database,
            audit=world.audit,
            sources=world.sources,
            apps=AppSessions(database=world.database, audit=world.audit, sources=world.sources),
        ),
        factors=world.factors,
        launcher=AppLauncher(catalog=world.apps, status=world.app_status, web_url=addresses.web_url),
        app_logins=open_app_entry(
            AppEntryGround(
                database=world.database,
                audit=world.audit,
                sources=world.sources,
                refusals=RefusalLog(world.audit),
                addresses=addresses,
                authenticator=world.authenticator,
                apps=world.apps,
                proofs=world.factors.sessions,
            )
        ).logins,
        apps_connector=apps_connector,
    )
    return create_app(services, verbs or VerbRegistry(), pages), services


@attrs.define
class Browser:
    """Sends requests on one connection."""

    stream: trio.abc.Stream
    token: str = ""

    async def send(self, method: str, path: str, body=b"", *headers: tuple[str, str], **options) -> Response:
        """`body` is bytes, or what becomes JSON."""
        if not isinstance(body, bytes):
            body, headers = json.dumps(body).encode(), (("content-type", "application/json"), *headers)
        if self.token:
            headers = (("authorization", f"Bearer {self.token}"), *headers)
        return await request(self.stream, method, path, headers, body, host="hub.example.com", **options)

    async def post(self, name: str, body, *headers: tuple[str, str]) -> Response:
        return await self.send("POST", API + name, body, *headers)

    async def get(self, name: str, *headers: tuple[str, str]) -> Response:
        return await self.send("GET", API + name, b"", *headers)


@asynccontextmanager
async def browsing(app, token: str = "", client: str = CLIENT) -> AsyncIterator[Browser]:
    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, theirs, app, client)
        yield Browser(ours, token)
        nursery.cancel_scope.cancel()


async def serve(stream: trio.abc.Stream, app, client: str) -> None:
    await serve_http1(stream, app, scheme="https", client=client, server="192.0.2.1:3080")


def document(response: Response):
    return json.loads(response.body)


def failure(response: Response) -> tuple[int, str]:
    """Status and message of an answer in the one shape that failures have."""
    (shape,) = document(response).items()
    name, error = shape
    assert name == "error"
    assert set(error) == {"message", "event_id"}
    assert response.header(b"content-type") == b"application/json"
    return response.status, error["message"]
