# SPDX-License-Identifier: Apache-2.0
"""A real hub in this very process, on loopback and SQLite, and identities made without the long way round."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

import attrs
import trio

from mezite.agent.identity_store import AgentIdentityFiles, StoredIdentity
from mezite.agent.joining import identity_of_response, make_keys, public_keys
from mezite.api.pb.mezite.v1 import enrollment_pb2
from mezite.cli.hub_client.profile_store import CurrentProfile, Profile
from mezite.config.kinds import ListenAddress
from mezite.config.schema import AgentConfig, AuthConfig, DiagConfig, HubConfig, ProxyConfig
from mezite.core.certificates.keys import generate_ed25519, generate_p256, private_key_pem, public_key_pem
from mezite.core.certificates.openssh_key import openssh_private_key
from mezite.core.certificates.ssh import authorized_key_line, public_key_blob
from mezite.core.join_token import parse_join_token
from mezite.hub.assembly import Hub
from mezite.hub.daemon import RunningHub, run_hub
from mezite.hub.ground import open_ground
from mezite.services.authorities.certificate_authority import UserCertificateRequest
from mezite.services.nodes.enrollment import JoinRequest
from mezite.services.sources import Sources, system_sources
from mezite.storage.audit_events import AuditQuery
from tests.services.world import cheap_hasher

LOCAL = "127.0.0.1"
ANYWHERE = ListenAddress(LOCAL, 0)
CLUSTER = "test"
EXTENSIONS = ("permit-pty", "permit-port-forwarding", "permit-agent-forwarding")
PASSWORD = "correct horse battery staple"


def hub_config(folder: Path, **changes: object) -> HubConfig:
    """Everything on free ports of loopback."""
    config = HubConfig(
        cluster_name=CLUSTER,
        data_dir=str(folder),
        auth=AuthConfig(listen_addr=ANYWHERE),
        proxy=ProxyConfig(listen_addr=ANYWHERE, ssh_listen_addr=ANYWHERE, tunnel_listen_addr=ANYWHERE),
        diag=DiagConfig(listen_addr=ANYWHERE),
    )
    return attrs.evolve(config, **changes)


def serving_apps(folder: Path) -> ProxyConfig:
    """The same, with an apps domain."""
    return attrs.evolve(hub_config(folder).proxy, apps_domain="apps.example.com")


@cache
def template() -> Path:
    """Where a migrated database with its CAs is kept: making one takes longer than most tests."""
    folder = tempfile.mkdtemp(prefix="mezite-test-hub-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


async def fill(folder: Path) -> None:
    """Put a fresh hub's files into `folder`, from a copy of the first one made."""
    source = template()
    if not has_database(source):
        async with open_ground(hub_config(source), system_sources()):
            pass
    copy_files(source, folder)


def has_database(folder: Path) -> bool:
    return (folder / "mezhub.db").exists()


def copy_files(source: Path, folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("mezhub.db", "hub_id"):
        shutil.copy2(source / name, folder / name)


@attrs.frozen(kw_only=True)
class Enrolled:
    """An agent without the program."""

    keys: AgentIdentityFiles
    identity: StoredIdentity


@attrs.define(eq=False, kw_only=True)
class LiveHub:
    """A hub that runs, and what tests want of it."""

    running: RunningHub
    stop: trio.Event
    cancel: Callable[[], None]
    over: trio.Event
    """Set when the hub has ended."""
    config: HubConfig
    sources: Sources

    @property
    def hub(self) -> Hub:
        return self.running.hub

    @property
    def pin(self) -> str:
        return f"sha256:{self.hub.ground.authorities.host_pin}"

    def address(self, name: str) -> str:
        return self.running.addresses[name]

    async def audited(self, event_type: str) -> list[str]:
        return list(await self.hub.ground.audit.query(AuditQuery(event_types=(event_type,), limit=1000)))

    async def join_token(self, **labels: str) -> str:
        created = await self.hub.ground.enrollment.create_token(
            roles=("node",), ttl_seconds=3600, labels=labels, by="test"
        )
        return created.text.reveal()

    async def enroll(self, node_name: str = "web-1") -> Enrolled:
        keys = make_keys()
        tls, ssh = public_keys(keys)
        request = JoinRequest(
            secret=parse_join_token(await self.join_token()).secret,
            node_name=node_name,
            labels={"env": "prod"},
            version="0.1",
            tls_public_key_pem=tls.encode(),
            ssh_public_key=ssh,
            agent_time=self.sources.now(),
        )
        enrolled = await self.hub.ground.enrollment.join(request, client_address="192.0.2.9:1")
        authorities, issued = self.hub.ground.authorities, enrolled.certificates
        answer = enrollment_pb2.AgentIdentity(
            agent_id=enrolled.agent.agent_id,
            cluster_name=authorities.cluster,
            node_name=node_name,
            tls_certificate_pem=issued.tls_certificate_pem,
            ssh_host_certificate=issued.ssh_host_certificate,
            host_tls_ca_pem=authorities.host_tls_ca_pem,
            user_ssh_ca=authorities.user_ssh_ca_lines,
        )
        return Enrolled(keys=keys, identity=identity_of_response(answer, authorities.host_pin))

    def agent_config(self, folder: Path, **changes: object) -> AgentConfig:
        config = AgentConfig(
            proxy_addr=self.address("tunnel"), auth_addr=self.address("auth"), data_dir=str(folder)
        )
        return attrs.evolve(config, **changes)

    async def user(
        self, name: str = "alice", roles: tuple[str, ...] = ("access",), logins: tuple[str, ...] = ("ubuntu",)
    ) -> tuple[CurrentProfile, Profile]:
        """A user of that name with what `msh login` would have written."""
        ground = self.hub.ground
        traits = {"logins": logins} if logins else {}
        await ground.accounts.create(name, roles=roles, traits=traits, password="", by="test")
        return self.profile(name, roles, logins)

    def profile(
        self, name: str, roles: tuple[str, ...], logins: tuple[str, ...], ttl_seconds: int = 3600
    ) -> tuple[CurrentProfile, Profile]:
        authorities = self.hub.ground.authorities
        ssh_key, tls_key = generate_ed25519(), generate_p256()
        issued = authorities.issue_user(
            UserCertificateRequest(
                user_name=name,
                roles=roles,
                traits={"logins": logins} if logins else {},
                principals=logins,
                extensions=EXTENSIONS,
                ssh_public_key=authorized_key_line(public_key_blob(ssh_key.public_key())),
                tls_public_key_pem=public_key_pem(tls_key.public_key()),
                ttl_seconds=ttl_seconds,
            )
        )
        profile = Profile(
            ssh_key=openssh_private_key(ssh_key),
            ssh_certificate=f"{issued.ssh_certificate}\n".encode(),
            tls_key=private_key_pem(tls_key),
            tls_certificate=issued.tls_certificate_pem.encode(),
            ca_pem="".join(authorities.host_tls_ca_pem).encode(),
            known_hosts="".join(
                f"@cert-authority * {line}\n" for line in authorities.host_ssh_ca_lines
            ).encode(),
        )
        current = CurrentProfile(
            host=LOCAL,
            user=name,
            cluster=CLUSTER,
            proxy_addr=self.address("web"),
            auth_addr=self.address("auth"),
            ssh_addr=self.address("ssh"),
        )
        return current, profile


@asynccontextmanager
async def live_hub(
    folder: Path, *, fresh: bool = False, sources: Sources | None = None, **changes: object
) -> AsyncIterator[LiveHub]:
    """A hub on free ports for the length of the block; `fresh` starts on an empty folder."""
    if not fresh:
        await fill(folder)
    config, stop, clock = hub_config(folder, **changes), trio.Event(), sources or system_sources()

    scope, over = trio.CancelScope(), trio.Event()

    async def run(*, task_status: trio.TaskStatus[RunningHub]) -> None:
        with scope:
            await run_hub(config, stop=stop, sources=clock, passwords=cheap_hasher(), task_status=task_status)
        over.set()

    async with trio.open_nursery() as nursery:
        running = await nursery.start(run)
        yield LiveHub(
            running=running, stop=stop, cancel=scope.cancel, over=over, config=config, sources=clock
        )
        nursery.cancel_scope.cancel()
