# SPDX-License-Identifier: Apache-2.0
"""A cluster whose keys are rotated while agents are away, clocks are off, and the hub is killed in every step.

The hub's services, its database, the agents' files and all checks of certificates are the real ones; what is left out
is the network. Time is a number that the simulation turns, so days pass in seconds and nothing depends on this
machine's speed.
"""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import trio

from mezite.agent.identity_store import IdentityStore, StoredIdentity
from mezite.agent.trust import adopt, key_ids_of
from mezite.api.signed_trust import check_pin
from mezite.core.certificates.continuation import follow
from mezite.core.certificates.identity import PeerKind
from mezite.core.certificates.refusal import CertificateRefused
from mezite.core.certificates.ssh import (
    parse_authorized_key_line,
    verify_host_certificate,
    verify_user_certificate,
)
from mezite.core.certificates.trust_bundle import key_id_of_certificate
from mezite.core.certificates.x509_issue import load_certificates
from mezite.core.certificates.x509_verify import verify_x509
from mezite.core.rotation import Step
from mezite.services.access.lock_feed import LockFeed
from mezite.services.audit_log import AuditLog
from mezite.services.authentication.authenticator import Authenticator
from mezite.services.authorities.certificate_authority import (
    CertificateAuthorities,
    HubCertificates,
    UserCertificateRequest,
    UserCertificates,
)
from mezite.services.authorities.key_ring import KeyRing
from mezite.services.authorities.rotation import AuthorityRotation
from mezite.services.errors import UnauthenticatedError
from mezite.services.identity.identities import AgentIdentity
from mezite.services.nodes.enrollment import Enrollment, JoinRequest, secret_part
from mezite.services.sources import Sources
from mezite.storage import agents
from mezite.storage.database import Database
from tests.services.world import (
    CLIENT,
    CLUSTER,
    HOUR,
    SSH_KEY,
    SSH_PUBLIC_LINE,
    TLS_KEY,
    TLS_PUBLIC_PEM,
    Clock,
    certificate_der,
    fake_sources,
)

TICK = HOUR
LEASE = TICK + HOUR // 2
HUB_RENEWAL = 8 * HOUR
LOGIN = 12 * HOUR


class Killed(Exception):
    """The hub's process is gone."""


class Mortal:
    """The database of a hub that can be killed right before or right after a transaction is durable."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.death = ""

    async def read(self, *arguments, **named):
        return await self._database.read(*arguments, **named)

    async def write(self, function, *arguments, **named):
        death = self.death if "after" in named else ""
        if death == "before":
            raise Killed
        result = await self._database.write(function, *arguments, **named)
        if death == "after":
            raise Killed
        return result


@attrs.define(eq=False, kw_only=True)
class Hub:
    """One life of the hub."""

    database: Mortal
    authorities: CertificateAuthorities
    rotation: AuthorityRotation
    enrollment: Enrollment
    authenticator: Authenticator
    certificates: HubCertificates
    shown: KeyRing
    issued_at: int

    @property
    def leaf(self) -> bytes:
        return certificate_der(self.certificates.tls_certificate_pem.decode())


@attrs.define(eq=False, kw_only=True)
class Agent:
    """An agent with its files."""

    name: str
    store: IdentityStore
    identity: StoredIdentity
    renewed_at: int
    trusts: frozenset[str] = frozenset()
    who: AgentIdentity | None = None
    skew: int = 0
    away: Callable[[int], bool] = lambda _hour: False
    connected: bool = False
    refused: str = ""

    def clock(self, now: int) -> int:
        return (now + self.skew) // 1000


@attrs.define(eq=False, kw_only=True)
class User:
    """Somebody with a profile, who logs in twice a day."""

    name: str
    phase: int
    host_tls: tuple[str, ...] = ()
    host_ssh: tuple[str, ...] = ()
    issued: UserCertificates | None = None
    logged_in_at: int = 0


@attrs.define(eq=False, kw_only=True)
class Cluster:
    """Everything, and what went wrong."""

    real: Database
    clock: Clock
    sources: Sources
    folder: Path
    hub: Hub
    audit: AuditLog
    agents: list[Agent] = attrs.field(factory=list)
    users: list[User] = attrs.field(factory=list)
    violations: list[str] = attrs.field(factory=list)
    steps: list[tuple[int, str]] = attrs.field(factory=list)
    hours: int = 0
    kills: int = 0

    # ---- the hub

    async def restart(self) -> None:
        """Another process on the same database; every tunnel is gone."""
        self.kills += 1
        self.hub = await open_hub(self.real, self.audit, self.sources)
        for agent in self.agents:
            agent.connected = False

    async def die_once(self, when: str, action: Callable[[], Awaitable[None]]) -> bool:
        """Do `action` with a hub that dies if it takes a step, before or after that is durable; whether it did.

        It is started again at once.
        """
        self.hub.database.death = when
        try:
            await action()
        except Killed:
            await self.restart()
            return True
        finally:
            self.hub.database.death = ""
        return False

    async def keep(self) -> list[Step]:
        """What the hub's keeper does: follow, say so, take steps; and the hub's own certificates."""
        taken: list[Step] = []
        while True:
            await self.hub.authorities.reload()
            now, ring = self.clock.now, self.hub.authorities.ring
            if ring is not self.hub.shown or now - self.hub.issued_at >= HUB_RENEWAL:
                self.hub.certificates, self.hub.issued_at = certify(self.hub.authorities), now
                self.hub.shown = ring
            await self.hub.rotation.note_hub()
            steps = await self.hub.rotation.advance()
            taken += steps
            if not steps:
                return taken

    # ---- an hour

    async def hour(self) -> None:
        """Let an hour pass, in which the hub dies in every step that it takes, once before and once after it."""
        self.clock.now += TICK
        self.hours += 1
        for agent in self.agents:
            agent.connected &= not agent.away(self.hours)
        for when in itertools.cycle(("before", "after")):
            if not await self.die_once(when, self.settle):
                return

    async def settle(self) -> None:
        """Whoever is there connects and says so, steps are taken, users work; every promise is checked."""
        present = [agent for agent in self.agents if not agent.away(self.hours)]
        await self._serve(present)
        taken = await self.keep()
        self.steps += [(self.hours, step.value) for step in taken]
        if taken:
            # Whoever is online is told at once.
            await self._serve(present)
        for number, user in enumerate(self.users):
            # In four hours everybody has been everywhere.
            self._use(user, present[(self.hours + number) % 4 :: 4])

    async def _serve(self, present: list[Agent]) -> None:
        for agent in present:
            if not agent.connected:
                await self._connect(agent)
            if agent.connected:
                await self._beat(agent)
        # Of no tunnel yet: the epoch of all of them is 0.
        online = [(agent.identity.agent_id, 0) for agent in present if agent.connected]
        lease = self.clock.now + LEASE
        fenced = await self.real.write(
            agents.heartbeat_many, tunnels=online, lease_until=lease, now=self.clock.now
        )
        assert not fenced

    async def _connect(self, agent: Agent) -> None:
        """Both handshakes, each with what that side trusts and its own clock."""
        now = self.clock.now
        try:
            verify_x509(
                self.hub.leaf,
                ca_certs=cas(agent.identity.host_tls_ca_pem),
                cluster=CLUSTER,
                kind=PeerKind.HUB,
                now=agent.clock(now),
            )
            der = certificate_der(agent.identity.tls_certificate_pem)
            who = await self.hub.authenticator.by_tls_certificate(der)
        except (CertificateRefused, UnauthenticatedError) as refused:
            agent.refused = str(refused)
            if now < agent.renewed_at + 24 * HOUR:
                self.violations.append(f"hour {self.hours}: {agent.name} is locked out: {refused}")
            return
        assert isinstance(who, AgentIdentity)
        # Who it is in this tunnel, also when its certificate has been replaced.
        agent.who, agent.connected, agent.refused = who, True, ""

    async def _beat(self, agent: Agent) -> None:
        """As the agent's daemon: renew at a third of the life, say what is trusted, take over what is new."""
        if self.clock.now >= agent.renewed_at + 8 * HOUR:
            enrolled = await self.hub.enrollment.renew(
                agent.who,
                tls_public_key_pem=TLS_PUBLIC_PEM,
                ssh_public_key=SSH_PUBLIC_LINE,
                agent_time=self.clock.now + agent.skew,
                client_address=CLIENT,
            )
            agent.identity = attrs.evolve(
                agent.identity,
                tls_certificate_pem=enrolled.certificates.tls_certificate_pem,
                ssh_host_certificate=enrolled.certificates.ssh_host_certificate,
            )
            agent.renewed_at = self.clock.now
        wanted = self.hub.authorities.key_ids_for_agents
        if agent.trusts != wanted:
            agent.identity = adopt(
                agent.store,
                agent.identity,
                host_tls_ca_pem=self.hub.authorities.host_tls_ca_pem,
                user_ssh_ca=self.hub.authorities.user_ssh_ca_lines,
                now=self.clock.now + agent.skew,
            )
            agent.trusts = frozenset(key_ids_of(agent.identity))
            assert agent.trusts == wanted
            await self._acknowledge(agent)

    async def _acknowledge(self, agent: Agent) -> None:
        said = key_ids_of(agent.identity)
        await self.hub.enrollment.heartbeat(agent.who, labels={}, version="1", trusted_key_ids=said)

    # ---- users

    def _use(self, user: User, present: list[Agent]) -> None:
        """Log in when it is time, and reach every node with what the last login gave."""
        now = self.clock.now // 1000
        if user.issued is None or self.clock.now >= user.logged_in_at + LOGIN + user.phase * HOUR:
            self._log_in(user)
        assert user.issued is not None
        try:
            verify_x509(
                self.hub.leaf, ca_certs=cas(user.host_tls), cluster=CLUSTER, kind=PeerKind.HUB, now=now
            )
            der = certificate_der(user.issued.tls_certificate_pem)
            self.hub.authorities.verify_client(der, now=self.clock.now)
            for agent in present:
                if agent.connected:
                    self._open(user, agent)
        except CertificateRefused as refused:
            self.violations.append(f"hour {self.hours}: {user.name} is locked out: {refused.message}")

    def _open(self, user: User, agent: Agent) -> None:
        """The node's host certificate by the user's known_hosts, the user's certificate by the agent's CAs."""
        verify_host_certificate(
            parse_authorized_key_line(agent.identity.ssh_host_certificate)[1],
            trusted_cas=[parse_authorized_key_line(line)[1] for line in user.host_ssh],
            host_name=agent.name,
            now=self.clock.now // 1000,
        )
        verify_user_certificate(
            parse_authorized_key_line(user.issued.ssh_certificate)[1],
            trusted_cas=[parse_authorized_key_line(line)[1] for line in agent.identity.user_ssh_ca],
            login="ubuntu",
            source_address="192.0.2.7",
            now=agent.clock(self.clock.now),
        )

    def _log_in(self, user: User) -> None:
        authorities = self.hub.authorities
        if user.host_tls:
            # The profile of the last login has to be enough to know the hub again.
            known = [key_id_of_certificate(pem) for pem in user.host_tls]
            found = follow(known, authorities.signed_trust(), now=self.clock.now // 1000)
            assert sorted(found.host_tls_ca_pem) == sorted(authorities.host_tls_ca_pem)
        user.host_tls = tuple(authorities.host_tls_ca_pem)
        user.host_ssh = tuple(authorities.host_ssh_ca_lines)
        user.issued = authorities.issue_user(user_request(user.name))
        user.logged_in_at = self.clock.now

    # ---- joining

    async def token(self) -> str:
        created = await self.hub.enrollment.create_token(
            roles=("node",), ttl_seconds=7 * 24 * 3600, labels={}, by="root", client_address=CLIENT
        )
        return created.text.reveal()

    async def join(self, name: str, token: str, **changes: object) -> Agent:
        """By a token whose pin may be an old one."""
        authorities = self.hub.authorities
        pin = token.rpartition(".")[2]
        now = self.clock.now // 1000
        lists = authorities.signed_trust()
        bundle = check_pin(authorities.host_tls_ca_pem, lists, pin, "hub", now=now)
        verify_x509(
            self.hub.leaf,
            ca_certs=cas(pem.decode() for pem in bundle),
            cluster=CLUSTER,
            kind=PeerKind.HUB,
            now=now,
        )
        enrolled = await self.hub.enrollment.join(
            JoinRequest(
                secret=secret_part(token),
                node_name=name,
                labels={},
                version="1",
                tls_public_key_pem=TLS_PUBLIC_PEM,
                ssh_public_key=SSH_PUBLIC_LINE,
                agent_time=self.clock.now,
            ),
            client_address=CLIENT,
        )
        identity = StoredIdentity(
            agent_id=enrolled.agent.agent_id,
            cluster_name=CLUSTER,
            node_name=name,
            host_ca_pin=pin,
            tls_certificate_pem=enrolled.certificates.tls_certificate_pem,
            ssh_host_certificate=enrolled.certificates.ssh_host_certificate,
            host_tls_ca_pem=tuple(pem.decode() for pem in bundle),
            user_ssh_ca=tuple(authorities.user_ssh_ca_lines),
        )
        store = IdentityStore(self.folder / name)
        store.save(identity)
        made = Agent(name=name, store=store, identity=identity, renewed_at=self.clock.now, **changes)
        await self._connect(made)
        await self._acknowledge(made)
        return made


def cas(pems):
    return [certificate for pem in pems for certificate in load_certificates(pem.encode())]


def user_request(name: str) -> UserCertificateRequest:
    return UserCertificateRequest(
        user_name=name,
        roles=("access",),
        traits={"logins": ("ubuntu",)},
        principals=("ubuntu",),
        extensions=("permit-pty",),
        ssh_public_key=SSH_PUBLIC_LINE,
        tls_public_key_pem=TLS_PUBLIC_PEM,
        ttl_seconds=24 * 3600,
    )


def certify(authorities: CertificateAuthorities) -> HubCertificates:
    return authorities.issue_hub(
        hub_id="hub-1", tls_key=TLS_KEY, ssh_key=SSH_KEY, names=("localhost",), addresses=()
    )


async def open_hub(database: Database, audit: AuditLog, sources: Sources) -> Hub:
    mortal = Mortal(database)
    authorities = await CertificateAuthorities.open(mortal, cluster=CLUSTER, passphrase=None, sources=sources)
    locks = LockFeed(database=database, sources=sources)
    await locks.refresh()
    rotation = AuthorityRotation(
        database=mortal, authorities=authorities, audit=audit, sources=sources, hub_id="hub-1"
    )
    return Hub(
        database=mortal,
        authorities=authorities,
        rotation=rotation,
        enrollment=Enrollment(database=database, authorities=authorities, audit=audit, sources=sources),
        authenticator=Authenticator(database=database, authorities=authorities, sources=sources, locks=locks),
        certificates=certify(authorities),
        shown=authorities.ring,
        issued_at=sources.now(),
    )


@asynccontextmanager
async def open_cluster(folder: Path) -> AsyncIterator[Cluster]:
    """An empty one."""
    clock = Clock()
    sources = fake_sources(clock)
    async with await Database.open(folder / "mezhub.db") as database, trio.open_nursery() as nursery:
        audit = AuditLog(database=database, cluster=CLUSTER, hub_id="hub-1", sources=sources)
        await nursery.start(audit.run)
        yield Cluster(
            real=database,
            clock=clock,
            sources=sources,
            folder=folder,
            hub=await open_hub(database, audit, sources),
            audit=audit,
        )
        nursery.cancel_scope.cancel()
