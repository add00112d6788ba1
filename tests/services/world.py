# SPDX-License-Identifier: Apache-2.0
"""A hub's services on a real database, with a clock and randomness that the test turns."""

import hashlib
import itertools
import json
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import argon2
import attrs
import trio
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate

from mezite.core.certificates.keys import generate_ed25519, generate_p256, public_key_pem
from mezite.core.certificates.ssh import authorized_key_line, parse_authorized_key_line, public_key_blob
from mezite.core.certificates.ssh_verify import verify_user_certificate
from mezite.services.access.live_access import LiveAccess
from mezite.services.access.lock_feed import LockFeed
from mezite.services.access.role_trial import RoleTrial
from mezite.services.access.roles import RoleCatalog
from mezite.services.app_memory import AppMemory
from mezite.services.apps.catalog import AppCatalog
from mezite.services.apps.registration import AppsDomain
from mezite.services.apps.sessions import AppSessions
from mezite.services.apps.status import AppStatus
from mezite.services.audit_log import AuditLog
from mezite.services.authentication.authenticator import Authenticator
from mezite.services.authentication.credential_refusals import CredentialRefusals
from mezite.services.authentication.refusal_log import RefusalLog
from mezite.services.authorities.certificate_authority import CertificateAuthorities
from mezite.services.identity.identities import AgentIdentity, UserIdentity
from mezite.services.locks.access_watch import AccessWatch
from mezite.services.locks.locks import Locks
from mezite.services.login.certificates import IssuedToUser, UserCertificateService
from mezite.services.login.codes import FactorCodes, ShownCode
from mezite.services.login.password_login import LoginService
from mezite.services.nodes.access import NodeAccess
from mezite.services.nodes.directory import NodeDirectory
from mezite.services.nodes.enrollment import Enrolled, Enrollment, JoinRequest, secret_part
from mezite.services.nodes.live_connections import LiveConnections
from mezite.services.nodes.session_control import NodeSessionControl
from mezite.services.nodes.tunnel_leases import TunnelLeases
from mezite.services.nodes.tunnel_registry import TunnelRegistry
from mezite.services.proofs.assembly import FactorServices, open_factor_services
from mezite.services.requests.access_requests import AccessRequests
from mezite.services.sources import Sources
from mezite.services.users.accounts import Accounts
from mezite.services.users.devices import Devices
from mezite.services.users.login_sessions import LoginSessions
from mezite.services.users.machine_identities import MachineIdentities
from mezite.storage import users
from mezite.storage.audit_events import AuditQuery
from mezite.storage.database import Database
from mezite.storage.password_hasher import PasswordHasher
from mezite.storage.secret_box import SecretBox
from mezite.storage.web_sessions import WebSessionKind

START = 1_800_000_000_000
PASSWORD = "correct horse battery"
CLIENT = "192.0.2.7:50000"
CLUSTER = "test"
WEB_URL = "https://hub.example.com"
APPS_DOMAIN = "apps.example.com"
HUB_ID = "hub-1"
MINUTE = 60_000
HOUR = 60 * MINUTE

TLS_KEY = generate_p256()
SSH_KEY = generate_ed25519()
TLS_PUBLIC_PEM = public_key_pem(TLS_KEY.public_key())
SSH_PUBLIC_LINE = authorized_key_line(public_key_blob(SSH_KEY.public_key()))


@attrs.define
class Clock:
    """Wall clock in milliseconds; stands until it is turned."""

    now: int = START

    def read(self) -> int:
        return self.now


def counted_bytes(start: int = 0) -> Iterator[bytes]:
    for number in itertools.count(start):
        yield hashlib.sha256(number.to_bytes(8, "big")).digest()


def fake_sources(clock: Clock, *, start: int = 0) -> Sources:
    """Randomness that is the same in every run."""
    blocks = counted_bytes(start)
    return Sources(now=clock.read, token_bytes=lambda count: next(blocks)[:count])


def cheap_hasher() -> PasswordHasher:
    return PasswordHasher(hasher=argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))


def certificate_der(pem: str) -> bytes:
    return load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)


@attrs.define(eq=False, kw_only=True)
class World:
    """Everything below the handlers."""

    path: Path
    clock: Clock
    sources: Sources
    database: Database
    authorities: CertificateAuthorities
    audit: AuditLog
    login: LoginService
    accounts: Accounts
    roles: RoleCatalog
    role_trial: RoleTrial
    enrollment: Enrollment
    registry: TunnelRegistry
    connections: LiveConnections
    leases: TunnelLeases
    access: NodeAccess
    directory: NodeDirectory
    certificates: UserCertificateService
    authenticator: Authenticator
    refusals: CredentialRefusals
    requests: AccessRequests
    devices: Devices
    machines: MachineIdentities
    lock_feed: LockFeed
    live: LiveAccess
    watch: AccessWatch
    locks: Locks
    node_sessions: NodeSessionControl
    login_sessions: LoginSessions
    codes: FactorCodes
    box: SecretBox
    factors: FactorServices
    apps: AppCatalog
    app_status: AppStatus

    async def events(self, event_type: str = "") -> list[dict[str, object]]:
        """What has been audited, oldest first."""
        wanted = AuditQuery(event_types=(event_type,) if event_type else (), limit=1000)
        events = [json.loads(line) for line in await self.audit.query(wanted)]
        return sorted(events, key=lambda event: event["seq"])

    async def user(
        self, name: str = "alice", roles: tuple[str, ...] = ("access",), logins: tuple[str, ...] = ("ubuntu",)
    ) -> UserIdentity:
        """A user with a password, logged in."""
        await self.accounts.create(
            name, roles=roles, traits={"logins": logins} if logins else {}, password=PASSWORD, by="root"
        )
        return await self.session(name)

    async def session(self, name: str) -> UserIdentity:
        return await self.authenticator.by_session(await self.token(name))

    async def session_with(self, name: str, **codes: str) -> UserIdentity:
        """A session of a user who has a second factor."""
        started = await self.login.with_password(
            name, PASSWORD, client_address=CLIENT, shown=ShownCode(**codes)
        )
        return await self.authenticator.by_session(started.token.reveal())

    async def users_session(self, name: str) -> UserIdentity:
        """A session of a user without a password."""
        user = await self.database.read(users.get, name=name)
        started = await self.login.start(user, None, client_address=CLIENT, kind=WebSessionKind.API)
        return await self.authenticator.by_session(started.token.reveal())

    async def token(self, name: str) -> str:
        started = await self.login.with_password(name, PASSWORD, client_address=CLIENT)
        return started.token.reveal()

    async def issue(self, identity: UserIdentity, ttl_seconds: int = 0) -> IssuedToUser:
        return await self.certificates.issue(
            identity,
            ssh_public_key=SSH_PUBLIC_LINE,
            tls_public_key_pem=TLS_PUBLIC_PEM,
            ttl_seconds=ttl_seconds,
            client_address=CLIENT,
        )

    async def by_certificate(self, issued: IssuedToUser) -> UserIdentity:
        """The same user, by the X.509 certificate."""
        der = certificate_der(issued.certificates.tls_certificate_pem)
        identity = await self.authenticator.by_tls_certificate(der)
        assert isinstance(identity, UserIdentity)
        return identity

    async def by_ssh_certificate(self, issued: IssuedToUser) -> UserIdentity:
        return await self.authenticator.by_ssh_certificate(self.verified_ssh(issued))

    def verified_ssh(self, issued: IssuedToUser):
        return verify_user_certificate(
            parse_authorized_key_line(issued.certificates.ssh_certificate)[1],
            trusted_cas=self.authorities.user_ssh_ca_blobs,
            login=None,
            source_address="192.0.2.7",
            now=self.clock.now // 1000,
        )

    async def join_token(self, *, ttl_seconds: int = 3600, labels: dict[str, str] | None = None) -> str:
        """The secret part of a fresh token."""
        created = await self.enrollment.create_token(
            roles=("node",), ttl_seconds=ttl_seconds, labels=labels or {}, by="root", client_address=CLIENT
        )
        return secret_part(created.text.reveal())

    def join_request(self, secret: str, **changes: object) -> JoinRequest:
        request = JoinRequest(
            secret=secret,
            node_name="web-1",
            labels={"env": "prod"},
            version="0.1",
            tls_public_key_pem=TLS_PUBLIC_PEM,
            ssh_public_key=SSH_PUBLIC_LINE,
            agent_time=self.clock.now,
        )
        return attrs.evolve(request, **changes)

    async def join(self, node_name: str = "web-1", **labels: str) -> Enrolled:
        request = self.join_request(await self.join_token(), node_name=node_name, labels=labels)
        return await self.enrollment.join(request, client_address=CLIENT)

    async def agent(self, node_name: str = "web-1", **labels: str) -> AgentIdentity:
        return await self.agent_of(await self.join(node_name, **labels))

    async def agent_of(self, enrolled: Enrolled) -> AgentIdentity:
        der = certificate_der(enrolled.certificates.tls_certificate_pem)
        identity = await self.authenticator.by_tls_certificate(der)
        assert isinstance(identity, AgentIdentity)
        return identity


def apps_domain() -> AppsDomain:
    return AppsDomain(
        name=APPS_DOMAIN,
        hub_names=frozenset({f"hub.{APPS_DOMAIN}"}),
        certificate_names=lambda: (f"*.{APPS_DOMAIN}",),
    )


async def wired(database: Database, path: Path, clock: Clock, sources: Sources, hub_id: str) -> World:
    """The services of one hub on `database`; `audit.run` is the caller's to start."""
    authorities = await CertificateAuthorities.open(
        database, cluster=CLUSTER, passphrase=None, sources=sources
    )
    audit = AuditLog(database=database, cluster=CLUSTER, hub_id=hub_id, sources=sources)
    passwords, registry = cheap_hasher(), TunnelRegistry()
    common = {"database": database, "audit": audit, "sources": sources}
    box = SecretBox(None, token_bytes=sources.token_bytes)
    codes = FactorCodes(database=database, box=box, sources=sources)
    lock_feed = LockFeed(database=database, sources=sources)
    await lock_feed.refresh()
    login = LoginService(passwords=passwords, codes=codes, locks=lock_feed, **common)
    live = LiveAccess(feed=lock_feed, sources=sources)
    app_memory = AppMemory(database)
    watch = AccessWatch(
        database=database, sources=sources, feed=lock_feed, live=live, hub_id=hub_id, apps=app_memory
    )
    connections = LiveConnections(hub_id=hub_id, live=live, **common)
    certificates = UserCertificateService(authorities=authorities, audit=audit, sources=sources)
    factors = open_factor_services(
        cluster=CLUSTER, box=box, codes=codes, login=login, web_url=lambda: WEB_URL, **common
    )
    return World(
        path=path,
        clock=clock,
        authorities=authorities,
        login=login,
        accounts=Accounts(login=login, passwords=passwords, **common),
        roles=RoleCatalog(**common),
        role_trial=RoleTrial(database=database, sources=sources),
        enrollment=Enrollment(authorities=authorities, **common),
        registry=registry,
        connections=connections,
        leases=TunnelLeases(registry=registry, hub_id=hub_id, **common),
        access=NodeAccess(
            registry=registry,
            connections=connections,
            locks=lock_feed,
            live=live,
            proofs=factors.sessions,
            **common,
        ),
        directory=NodeDirectory(registry=registry, locks=lock_feed, **common),
        codes=codes,
        box=box,
        factors=factors,
        certificates=certificates,
        authenticator=Authenticator(
            database=database, authorities=authorities, sources=sources, locks=lock_feed
        ),
        refusals=CredentialRefusals(log=RefusalLog(audit)),
        requests=AccessRequests(**common),
        devices=Devices(cluster=CLUSTER, **common),
        machines=MachineIdentities(
            authorities=authorities,
            certificates=certificates,
            watch=watch,
            guesses=MachineIdentities.limits(RefusalLog(audit)),
            **common,
        ),
        lock_feed=lock_feed,
        live=live,
        watch=watch,
        locks=Locks(watch=watch, **common),
        node_sessions=NodeSessionControl(database=database, audit=audit, watch=watch),
        login_sessions=LoginSessions(apps=AppSessions(**common), watch=watch, **common),
        app_status=AppStatus(database=database, registry=registry, sources=sources),
        apps=AppCatalog(memory=app_memory, locks=lock_feed, domain=apps_domain(), **common),
        **common,
    )


@asynccontextmanager
async def open_world(path: Path, *, hub_id: str = HUB_ID, start: int = 0) -> AsyncIterator[World]:
    """Services on the SQLite database at `path`, with the audit log running."""
    clock = Clock()
    async with await Database.open(path, migrate=False) as database:
        world = await wired(database, path, clock, fake_sources(clock, start=start), hub_id)
        async with trio.open_nursery() as nursery:
            await nursery.start(world.audit.run)
            yield world
            nursery.cancel_scope.cancel()


async def make_template(path: Path) -> None:
    """A migrated database that has its CAs: making both takes longer than most tests."""
    clock = Clock()
    async with await Database.open(path) as database:
        await wired(database, path, clock, fake_sources(clock, start=1_000_000), HUB_ID)


def copy_template(template: Path, folder: Path) -> Path:
    path = folder / "mezhub.db"
    shutil.copyfile(template, path)
    path.chmod(0o600)
    return path
