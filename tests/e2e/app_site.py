# SPDX-License-Identifier: Apache-2.0
"""A hub with applications behind an agent, all in this process, for a browser to come to."""

from __future__ import annotations

import html
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import attrs
import trio

from mezite.agent.daemon import run_agent
from mezite.config.kinds import HostPort, ListenAddress
from mezite.config.schema import ProxyConfig
from mezite.core.apps.app import AppOptions
from mezite.core.cookies import SEAL_COOKIE, SESSION_COOKIE, seal_of
from mezite.core.secret import Secret
from mezite.net.asgi_types import Receive, Scope, Send
from mezite.net.http1_limits import HostRules
from mezite.net.http1_server import serve_http1
from mezite.net.http1_websocket import ACCEPT
from mezite.services.apps.registration import AppRegistration
from mezite.services.identity.identities import UserIdentity
from mezite.services.login.codes import FactorShown
from mezite.storage import users
from mezite.storage.roles import put as put_role
from mezite.storage.web_sessions import WebSessionKind
from mezite.testing.ports import free_port
from tests.chromium import Tab
from tests.hub.live_hub import ANYWHERE, LOCAL, PASSWORD, LiveHub, live_hub

DOMAIN = "apps.localhost"
"""To browsers another site than `hub.localhost`: the hardest case for cookies."""

NOBODY = f"{LOCAL}:1"
ANY_PATH = HostRules(plain_paths=False)

PAGE = """<!doctype html><html><head><title>{name}</title></head><body>
<p>{name} knows {user} at {target}</p><script>window.closed = false;</script></body></html>"""


@attrs.frozen
class Seen:
    """A request that an application got."""

    app: str
    method: str
    target: str
    user: str
    cookie: str


@attrs.define(eq=False, kw_only=True)
class AppSite:
    """The hub, and what its applications have seen."""

    hub: LiveHub
    port: int
    seen: list[Seen] = attrs.field(factory=list)
    sockets: trio.Event = attrs.field(factory=trio.Event)

    def url(self, app: str, path: str = "/") -> str:
        return f"https://{app}.{DOMAIN}:{self.port}{path}"

    def hub_url(self, path: str = "/") -> str:
        return f"https://hub.localhost:{self.port}{path}"

    async def user(self, name: str = "alice", roles: tuple[str, ...] = ("access",)) -> None:
        await self.hub.hub.ground.accounts.create(name, roles=roles, traits={}, password=PASSWORD, by="test")

    async def role(self, name: str, **options: object) -> None:
        """A role that opens every application, under these conditions."""
        document = {
            "kind": "role",
            "version": "v1",
            "metadata": {"name": name},
            "spec": {"options": options, "allow": {"app_labels": {"*": "*"}}},
        }
        now = self.hub.sources.now()
        await self.hub.hub.ground.database.write(put_role, name=name, document=json.dumps(document), now=now)

    async def log_in(self, tab: Tab, name: str, factor: FactorShown | None = None) -> UserIdentity:
        """Put a session into the browser, without the login page."""
        ground = self.hub.hub.ground
        user = await ground.database.read(users.get, name=name)
        started = await ground.login.start(user, factor, client_address=NOBODY, kind=WebSessionKind.WEB)
        secret = started.token.reveal()
        cookie = {"url": self.hub_url(), "path": "/", "httpOnly": True, "secure": True, "sameSite": "Strict"}
        values = {SESSION_COOKIE: secret, SEAL_COOKIE: seal_of(secret)}
        cookies = [cookie | {"name": name, "value": value} for name, value in values.items()]
        await tab.tools.call("Storage.setCookies", browserContextId=tab.context, cookies=cookies)
        return await self.hub.hub.services.authenticator.by_session(secret, WebSessionKind.WEB)

    async def add_app(self, name: str, uri: str, **options: object) -> None:
        registration = AppRegistration(
            name=name,
            uri=uri,
            labels={"env": "prod"},
            agent_hostnames=("web-1",),
            options=AppOptions(**options),
        )
        await self.hub.hub.services.apps.register(registration, by="test", client_address=NOBODY)

    def application(self, name: str):
        """What stands behind the agent: says who it is told that asks, and keeps WebSockets open."""

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            fields = {key.decode(): value.decode("latin-1") for key, value in scope["headers"]}
            query = f"?{scope['query_string'].decode()}" if scope["query_string"] else ""
            target = f"{scope['raw_path'].decode()}{query}"
            method = scope.get("method", "WEBSOCKET")
            user = fields.get("x-mezite-user", "")
            if target == "/favicon.ico":
                await send({"type": "http.response.start", "status": 404, "headers": []})
                await send({"type": "http.response.body", "body": b""})
                return
            self.seen.append(Seen(name, method, target, user, fields.get("cookie", "")))
            if scope["type"] == "websocket":
                socket = await scope["extensions"][ACCEPT]()
                await socket.send(f"hello {user}")
                self.sockets.set()
                while await socket.receive():
                    pass
                return
            body = PAGE.format(name=name, user=html.escape(user), target=html.escape(target)).encode()
            headers = [
                (b"content-type", b"text/html"),
                (b"content-length", str(len(body)).encode()),
                # Threat D16: none of these may arrive.
                (b"set-cookie", b"__Host-mezite_app=mine; Secure; Path=/"),
                (b"set-cookie", b"tossed=1; Domain=apps.localhost; Path=/"),
                (b"set-cookie", b"own=1; Path=/"),
            ]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": body})

        return app

    async def serve_app(self, name: str, *, task_status: trio.TaskStatus[str]) -> None:
        async def serve(stream: trio.SocketStream) -> None:
            with suppress(trio.BrokenResourceError):
                await serve_http1(
                    stream, app, scheme="http", client=NOBODY, server=NOBODY, rules_of=lambda _host: ANY_PATH
                )

        app = self.application(name)
        listeners = await trio.open_tcp_listeners(0, host=LOCAL)
        port = listeners[0].socket.getsockname()[1]
        task_status.started(f"http://{LOCAL}:{port}")
        await trio.serve_listeners(serve, listeners)


@asynccontextmanager
async def app_site(folder: Path, **proxy: object) -> AsyncIterator[AppSite]:
    """grafana, wiki (which grafana's pages may call) and evil, behind one agent."""
    port = free_port()
    config = ProxyConfig(
        listen_addr=ListenAddress(LOCAL, port),
        ssh_listen_addr=ANYWHERE,
        tunnel_listen_addr=ANYWHERE,
        public_addr=HostPort("hub.localhost", port),
        apps_domain=DOMAIN,
        **proxy,
    )
    async with live_hub(folder / "hub", proxy=config) as hub, trio.open_nursery() as nursery:
        site = AppSite(hub=hub, port=port)
        token = Secret(await hub.join_token())
        agent = hub.agent_config(folder / "agent", join_token=token)

        async def agent_runs() -> None:
            await run_agent(agent, node_name="web-1", now=hub.sources.now)

        nursery.start_soon(agent_runs)
        registry = hub.hub.services.registry
        with trio.fail_after(30):
            await registry.wait_tunnel()
        for name in ("grafana", "wiki", "evil"):
            uri = await nursery.start(site.serve_app, name)
            origins = (site.url("grafana").rstrip("/"),) if name == "wiki" else ()
            await site.add_app(name, uri, cors_origins=origins)
        yield site
        nursery.cancel_scope.cancel()
