# SPDX-License-Identifier: Apache-2.0
"""A whole hub in memory, people and agents with real credentials, and what each door answers them."""

import contextlib
import secrets
import sqlite3
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio
import trio.testing

from mezite.api.client import ApiClient, ClientOptions, RpcError, StatusCode, open_api_client
from mezite.api.rpc import RpcMethod
from mezite.config.schema import HubConfig, ProxyConfig
from mezite.core.apps.app import App
from mezite.core.audit.event import AuditEvent
from mezite.core.certificates.keys import (
    PrivateKey,
    generate_ed25519,
    generate_p256,
    private_key_pem,
    public_key_pem,
)
from mezite.core.certificates.ssh import authorized_key_line, public_key_blob
from mezite.core.mux.connection import ChannelHeader, Side
from mezite.core.rbac.label_matcher import LabelSelector
from mezite.core.rbac.locks import LockTarget
from mezite.core.rbac.role_document import role_document
from mezite.core.rbac.role_options import RoleOptions, SessionMfa
from mezite.core.rbac.roles import Conditions, Role
from mezite.core.secret import token_hash
from mezite.handlers.ports.grpc_port import GrpcPort
from mezite.hub.assembly import Hub, open_hub
from mezite.net.accept_loop import Connection
from mezite.net.byte_streams import PushbackStream
from mezite.net.http1_client import request
from mezite.net.mux_session import ChannelRejectedError, MuxSession, TunnelClosedError
from mezite.net.tls_contexts import mutual_client_context, unverified_client_context
from mezite.net.tls_stream import TlsError, TlsStream
from mezite.net.websocket_upgrade import UpgradeError, open_websocket
from mezite.services.login.certificates import UserCertificateService
from mezite.services.nodes.enrollment import JoinRequest, secret_part
from mezite.services.sources import Sources, system_sources
from mezite.storage import agents, apps, audit_events, roles, users, web_sessions
from mezite.storage.json_columns import stable_json
from mezite.storage.users import NewUser
from mezite.storage.web_sessions import WebSessionKind, WebSessionRow
from tests.hub.live_hub import CLUSTER, fill
from tests.services.world import cheap_hasher

CLIENT = "192.0.2.7:50000"
HOUR = 3_600_000

ROLES: Mapping[str, tuple[str, ...]] = {
    "user without roles": (),
    "auditor": ("auditor",),
    "access": ("access",),
    "admin": ("admin",),
    "disabled user": ("admin",),
    "locked user": ("admin",),
    "expired user": ("admin",),
    "user without factor": ("factor",),
}
EVERYBODY = ("nobody", *ROLES, "locked agent", "agent")

REQUIREMENTS: Mapping[str, RoleOptions] = {
    "factor": RoleOptions(require_session_mfa=SessionMfa.ANY),
    "device": RoleOptions(require_trusted_device=True),
    "address": RoleOptions(pin_source_ip=True),
}
"""Roles by what they ask for; their holders have all that the role `access` gives, and lack this one thing."""

WANTING: Mapping[str, tuple[str, ...]] = {f"user without {name}": (name,) for name in REQUIREMENTS}
"""Who is known and let in everywhere but where the requirement counts (threat E8)."""


def address_of(name: str) -> str:
    """Everybody calls from an address of their own: audit events tell who it was, and wrong guesses count apart."""
    return f"192.0.2.{10 + (*EVERYBODY, *WANTING).index(name)}"


@attrs.frozen(kw_only=True)
class Person:
    """Somebody at a door, with what they can show."""

    name: str
    user: str = ""
    """The name as a user; empty for agents and nobody."""
    certificate_pem: str = ""
    key: PrivateKey | None = None


@attrs.define
class TurnedClock:
    """The machine's own clock, turned by `offset` milliseconds."""

    offset: int = 0

    def now(self) -> int:
        return system_sources().now() + self.offset


@attrs.define(eq=False)
class Cluster:
    """The hub and everybody."""

    hub: Hub
    clock: TurnedClock
    tables: sqlite3.Connection
    """A look into the database between two visits: one through the hub's threads takes longer than most visits."""
    people: dict[str, Person] = attrs.field(factory=dict)
    sessions: dict[str, str] = attrs.field(factory=dict)

    async def enter(self) -> None:
        """Make users and agents, then take away from those that have less than a credential."""
        self.people["nobody"] = Person(name="nobody")
        database = self.hub.ground.database
        everything = LabelSelector.parse({"*": "*"})
        allow = Conditions(node_labels=everything, app_labels=everything, logins=("ubuntu",))
        for name, options in REQUIREMENTS.items():
            document = stable_json(role_document(Role(name=name, options=options, allow=allow)))
            await database.write(roles.put, name=name, document=document, now=self.now)
        for name, given in {**ROLES, **WANTING}.items():
            self.clock.offset = -2 * HOUR if name == "expired user" else 0
            self.people[name] = await self.make_user(name, given)
        for name in ("locked agent", "agent"):
            self.people[name] = await self.join(name)
        await database.write(users.set_disabled, name="disabled-user", disabled=True, now=self.now)
        locked = await database.read(agents.get_by_name, node_name="locked-agent")
        root = await self.authenticator.by_session(await self.session("admin"))
        await self.hub.services.locks.create(
            LockTarget.USER, "locked-user", message="lost laptop", by=root, client_address=CLIENT
        )
        await database.write(agents.lock, agent_id=locked.agent_id, reason="lost", now=self.now)
        app = App(name="agent", uri="tcp://127.0.0.1:9", protocol="tcp", agent_hostnames=("agent",))
        await database.write(apps.insert, app=app, revision="1", now=self.now)

    async def make_user(self, name: str, given: tuple[str, ...]) -> Person:
        """A user with certificates of an hour and a session, and then with these roles."""
        ground, user = self.hub.ground, name.replace(" ", "-")
        new = NewUser(name=user, traits={"logins": ("ubuntu",)})
        await ground.database.write(users.insert, user=new, now=self.now)
        first = () if name in WANTING else given
        await ground.database.write(users.update, name=user, roles=first, now=self.now)
        identity = await self.authenticator.by_session(await self.session(user))
        key = generate_p256()
        certificates = UserCertificateService(
            authorities=ground.authorities, audit=ground.audit, sources=ground.sources
        )
        issued = await certificates.issue(
            identity,
            ssh_public_key=ssh_line(),
            tls_public_key_pem=public_key_pem(key.public_key()),
            ttl_seconds=3600,
            client_address=CLIENT,
        )
        await ground.database.write(users.update, name=user, roles=given, now=self.now)
        pem = issued.certificates.tls_certificate_pem
        return Person(name=name, user=user, certificate_pem=pem, key=key)

    @property
    def now(self) -> int:
        return self.hub.ground.sources.now()

    @property
    def authenticator(self):
        return self.hub.agent_tunnels.authenticator

    async def session(self, user: str) -> str:
        """A session that nobody had to type a password for; always the same, until the user has logged out."""
        token = self.sessions.get(user, "")
        found = "SELECT 1 FROM web_sessions WHERE token_hash = ? AND revoked_at IS NULL"
        live = self.tables.execute(found, [token_hash(token)]).fetchone()
        return token if live is not None else await self.start_session(user)

    async def start_session(self, user: str) -> str:
        token = self.sessions[user] = self.hub.ground.sources.new_secret()
        row = WebSessionRow(
            token_hash=token_hash(token),
            user_name=user,
            kind=WebSessionKind.API,
            created_at=self.now,
            expires_at=self.now + HOUR,
            client_ip=CLIENT,
        )
        await self.hub.ground.database.write(web_sessions.insert, session=row)
        return token

    async def join(self, name: str) -> Person:
        node_name = name.replace(" ", "-")
        enrollment, key = self.hub.ground.enrollment, generate_p256()
        token = await enrollment.create_token(roles=("node",), ttl_seconds=60, labels={}, by="root")
        enrolled = await enrollment.join(
            JoinRequest(
                secret=secret_part(token.text.reveal()),
                node_name=node_name,
                labels={},
                version="1",
                tls_public_key_pem=public_key_pem(key.public_key()),
                ssh_public_key=ssh_line(),
                agent_time=self.now,
            ),
            client_address=CLIENT,
        )
        return Person(name=name, certificate_pem=enrolled.certificates.tls_certificate_pem, key=key)

    async def position(self) -> int:
        """How long the audit chain is now."""
        return int(self.tables.execute("SELECT coalesce(max(seq), 0) FROM audit_events").fetchone()[0])

    async def events(self) -> list[AuditEvent]:
        """The whole chain."""
        hub_id = self.hub.ground.hub_id
        rows = await self.hub.ground.database.read(lambda conn: [*audit_events.iterate(conn, hub_id=hub_id)])
        return [AuditEvent.from_json(row.json) for row in rows]

    # ---- the three kinds of door

    @asynccontextmanager
    async def client(self, person: Person, by: str) -> AsyncIterator[ApiClient]:
        """A connection to the API on which `person` shows a certificate, or nothing."""
        async with self.api_port(f"{address_of(person.name)}:50000") as transport:
            shown = person if by == "certificate" else self.people["nobody"]
            stream = TlsStream(transport, self._client_context(shown, "h2"), server_side=False)
            await stream.do_handshake()
            async with open_api_client(stream, ClientOptions(authority="hub")) as client:
                yield client

    async def has_tls(self, person: Person) -> bool:
        """Whether the API's port takes the certificate of this person, before anything is asked."""
        async with self.api_port(f"{address_of(person.name)}:50000") as transport:
            stream = TlsStream(transport, self._client_context(person, "h2"), server_side=False)
            try:
                await stream.do_handshake()
                return bool(await stream.receive_some())
            except (TlsError, trio.BrokenResourceError):
                return False

    @asynccontextmanager
    async def api_port(self, client_address: str = CLIENT) -> AsyncIterator[trio.abc.Stream]:
        """A connection to the gRPC port of a hub that allows cleartext too."""
        ours, theirs = trio.testing.memory_stream_pair()
        port = GrpcPort(context=lambda: self.hub.tls.grpc, serve_api=self.hub.serve_api, allow_cleartext=True)
        connection = Connection(
            PushbackStream(theirs), client_address, "127.0.0.1:3025", "auth", lambda: None, lambda _ip: None
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(served, port, connection)
            yield ours
            nursery.cancel_scope.cancel()

    async def call(
        self, client: ApiClient, person: Person, method: RpcMethod, message, by: str
    ) -> StatusCode:
        """Call an RPC; OK as soon as anything comes back: some of the public methods stream for ever."""
        metadata = []
        if by == "session" and person.user:
            metadata.append(("authorization", f"Bearer {await self.session(person.user)}"))
        opened = client.open_call(
            method.path, method.response_type, method.kind, deadline=20, metadata=metadata
        )
        try:
            async with opened as call:
                await call.send(message)
                call.end_requests()
                await call.receive()
        except RpcError as error:
            return error.status
        return StatusCode.OK

    async def visit(self, person: Person, door: str, body: bytes) -> int:
        """Ask for a route; the status of the answer."""
        method, path = door.split(" ")
        headers = [("content-type", "application/json")]
        if person.user:
            headers.append(("authorization", f"Bearer {await self.session(person.user)}"))
        async with self.web(person) as stream:
            answer = await request(stream, method, path, headers, body, host="localhost")
        return answer.status

    async def upgrade(self, person: Person, path: str) -> int:
        """Ask for a WebSocket; the status of the answer."""
        headers = []
        if person.user:
            headers.append(("authorization", f"Bearer {await self.session(person.user)}"))
        async with self.web(person) as stream:
            try:
                connection = await open_websocket(stream, "localhost", path, headers=headers)
            except UpgradeError as error:
                return error.status
            await connection.close()
        return 101

    @asynccontextmanager
    async def web(self, person: Person) -> AsyncIterator[trio.abc.Stream]:
        ours, theirs = trio.testing.memory_stream_pair()
        address = f"{address_of(person.name)}:50000"
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.hub.web.serve, theirs, "https", address, "127.0.0.1:3080")
            yield ours
            nursery.cancel_scope.cancel()

    async def open_channel(self, person: Person, kind: str) -> str:
        """Open a channel as msh does: `no tls`, `goodbye CODE`, `rejected CODE` or `accepted`."""
        ours, theirs = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._serve_connect, theirs, person)
            try:
                stream = TlsStream(ours, self._client_context(person, "mezite-connect/1"), server_side=False)
                await stream.do_handshake()
                outcome = await channel_outcome(stream, kind)
            except (TlsError, trio.BrokenResourceError):
                outcome = "no tls"
            nursery.cancel_scope.cancel()
        return outcome

    @asynccontextmanager
    async def connect(self, person: Person) -> AsyncIterator[MuxSession]:
        """A connection as msh keeps it, for several channels."""
        ours, theirs = trio.testing.memory_stream_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._serve_connect, theirs, person)
            stream = TlsStream(ours, self._client_context(person, "mezite-connect/1"), server_side=False)
            await stream.do_handshake()
            session = MuxSession(stream, Side.DIALER)
            await nursery.start(session.run)
            yield session
            nursery.cancel_scope.cancel()

    def _client_context(self, person: Person, protocol: str):
        alpn = (protocol,)
        if person.key is None:
            return unverified_client_context(alpn)
        cas = [pem.encode() for pem in self.hub.ground.authorities.host_tls_ca_pem]
        return mutual_client_context(cas, person.certificate_pem.encode(), private_key_pem(person.key), alpn)

    async def _serve_connect(self, transport: trio.abc.Stream, person: Person) -> None:
        stream = TlsStream(transport, self.hub.tls.connect, server_side=True)
        try:
            await stream.do_handshake()
        except (TlsError, trio.BrokenResourceError):
            await trio.aclose_forcefully(transport)
            return
        await self.hub.user_tunnels.serve(stream, f"{address_of(person.name)}:50000")


async def served(port: GrpcPort, connection: Connection) -> None:
    """As the accept loop does it: a hand-shake that fails is the peer's business."""
    try:
        await port.handle(connection)
    except TlsError:
        await trio.aclose_forcefully(connection.stream)


async def channel_outcome(stream: TlsStream, kind: str) -> str:
    session = MuxSession(stream, Side.DIALER)
    outcome = "no tls"
    header = node_header(kind)
    try:
        async with trio.open_nursery() as nursery:
            await nursery.start(session.run)
            # What the hub thinks of us comes before any answer to a channel.
            await session.wait_round_trip()
            if session.goaway_received is not None:
                outcome = f"goodbye {session.goaway_received.code.name}"
            else:
                outcome = await opened(session, header)
            nursery.cancel_scope.cancel()
    except* TunnelClosedError:
        if session.goaway_received is not None:
            outcome = f"goodbye {session.goaway_received.code.name}"
    return outcome


def node_header(kind: str = "ssh") -> ChannelHeader:
    """To the one node there is, which is offline, or to the application that it serves; both have one name."""
    return ChannelHeader(kind=kind, target="agent", attributes={"login": "ubuntu"})


async def opened(session: MuxSession, header: ChannelHeader) -> str:
    try:
        await session.open_channel(header)
    except ChannelRejectedError as rejected:
        if session.goaway_received is not None:
            return f"goodbye {session.goaway_received.code.name}"
        return f"rejected {rejected.code.name}"
    return "accepted"


def ssh_line() -> str:
    return authorized_key_line(public_key_blob(generate_ed25519().public_key()))


@asynccontextmanager
async def open_cluster(folder: Path) -> AsyncIterator[Cluster]:
    """Everything that `mezhub start` would have, without a port."""
    await fill(folder / "hub")
    proxy = ProxyConfig(apps_domain="apps.example.com")
    config = HubConfig(data_dir=str(folder / "hub"), cluster_name=CLUSTER, proxy=proxy)
    clock = TurnedClock()
    sources = Sources(now=clock.now, token_bytes=secrets.token_bytes)
    async with open_hub(config, sources, cheap_hasher()) as hub, trio.open_nursery() as nursery:
        await nursery.start(hub.ground.audit.run)
        with contextlib.closing(sqlite3.connect(folder / "hub" / "mezhub.db")) as tables:
            cluster = Cluster(hub, clock, tables)
            await cluster.enter()
            yield cluster
        nursery.cancel_scope.cancel()
