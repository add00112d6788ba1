# SPDX-License-Identifier: Apache-2.0
"""What a hub needs on its own machine, looked at without changing anything; the hub may be running."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import attrs
import trio

from mezite.api.doctor import LoadBalancerReport
from mezite.api.grpc_hop import clock_offset
from mezite.config.kinds import ListenAddress
from mezite.config.schema import HubConfig
from mezite.core.diagnosis import Finding, StepFailedError
from mezite.core.wrong_doors import Answer
from mezite.hub.apps_certificate import check_apps_certificate, configured_apps_keypair
from mezite.hub.apps_diagnosis import examine_stored_apps
from mezite.hub.balancer_probe import BalancerProbe, run_balancer_probe
from mezite.hub.own_certificates import own_certificate_check
from mezite.hub.web_certificate import configured_keypair
from mezite.net.addresses import join_host_port
from mezite.net.diagnosis_walk import Walk, nothing_to_do
from mezite.net.listener_probe import what_listens
from mezite.services.authorities.certificate_authority import CaPassphraseError, CertificateAuthorities
from mezite.services.authorities.keys import Purpose
from mezite.services.public_addresses import PublicAddresses
from mezite.services.self_probes import SelfProbes
from mezite.services.sources import Sources
from mezite.storage import certificate_authorities, database_clock
from mezite.storage.database import Database
from mezite.storage.errors import StorageError
from mezite.storage.migrations import REVISIONS, current_revision

__all__ = ["HubDiagnosis", "diagnose_hub"]

_KEYS = {
    "web": "proxy.listen_addr",
    "ssh": "proxy.ssh_listen_addr",
    "tunnel": "proxy.tunnel_listen_addr",
    "auth": "auth.listen_addr",
    "diag": "diag.listen_addr",
}
_OURS = {
    "web": {Answer.WEB, Answer.HTTP},
    "ssh": {Answer.CONNECT, Answer.SSH},
    "tunnel": {Answer.TUNNEL},
    "auth": {Answer.GRPC, Answer.HTTP},
    "diag": {Answer.HTTP},
}
"""What each port answers when it is a hub that holds it."""

_LOOPBACK = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}  # noqa: S104 - looked up, not bound
"""Where to knock at a port that is bound to every address."""

_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_SQLITE = "sqlite:///"


@attrs.frozen(kw_only=True)
class HubDiagnosis:
    """What was found, and configurations for what stands in front of the hub, if that was looked at."""

    findings: Sequence[Finding]
    balancer: LoadBalancerReport | None


async def diagnose_hub(config: HubConfig, sources: Sources, *, idle_seconds: int) -> HubDiagnosis:
    """Walk configuration, data directory, database, CAs, clock, ports and public address.

    ``idle_seconds`` is how long connections to the public address are left idle.
    """
    walk = Walk(step_seconds=30)
    async with AsyncExitStack() as stack:
        doctor = _HubDoctor(config=config, sources=sources, stack=stack)
        await walk.step("configuration", doctor.look_at_keypair)
        await walk.chain(
            ("data directory", doctor.look_at_data_dir),
            ("database", doctor.look_at_database),
            ("CA keys", doctor.open_keys),
            ("clock", doctor.compare_clocks),
        )
        for name, listen in doctor.listeners().items():
            await walk.step(f"port: {name}", _PortStep(doctor, name, listen).try_port)
        walk.findings += await doctor.examine_apps()
        balancer = await doctor.test_public_address(walk, idle_seconds)
    return HubDiagnosis(findings=walk.findings, balancer=balancer)


@attrs.define(eq=False, kw_only=True)
class _HubDoctor:
    config: HubConfig
    sources: Sources
    stack: AsyncExitStack
    database: Database | None = None
    authorities: CertificateAuthorities | None = None
    held: set[str] = attrs.field(factory=set)
    """Ports that a running hub holds."""

    def listeners(self) -> Mapping[str, ListenAddress]:
        """Every listener that this configuration opens."""
        proxy = self.config.proxy
        wanted: dict[str, ListenAddress] = {}
        if proxy.enabled:
            wanted |= {"web": proxy.listen_addr}
            if not proxy.single_port:
                wanted |= {"ssh": proxy.ssh_listen_addr, "tunnel": proxy.tunnel_listen_addr}
        if self.config.auth.enabled and not proxy.single_port:
            wanted["auth"] = self.config.auth.listen_addr
        return wanted | {"diag": self.config.diag.listen_addr}

    async def look_at_keypair(self) -> str:
        """The configuration was read; what is left is the certificate that it names."""
        await trio.lowlevel.checkpoint()
        now = self.sources.now()
        keypair, apps_keypair = (
            configured_keypair(self.config, now),
            configured_apps_keypair(self.config, now),
        )
        check_apps_certificate(self.config, keypair, apps_keypair)
        cluster = f"cluster {self.config.cluster_name}"
        return cluster if keypair is None else f"{cluster}, certificate of {', '.join(keypair.names)}"

    async def look_at_data_dir(self) -> str:
        """Whether it is ours alone."""
        await trio.lowlevel.checkpoint()
        return _look_at_data_dir(Path(self.config.data_dir))

    async def look_at_database(self) -> str:
        """Whether it answers, and whether this version knows its schema."""
        url = self.config.database_url().reveal()
        if _is_missing_file(url):
            raise nothing_to_do(f"{url.removeprefix(_SQLITE)} is made at the first start")
        try:
            self.database = await Database.open(url, migrate=False)
            self.stack.push_async_callback(self.database.aclose)
            revision = await self.database.read(current_revision)
        except StorageError as error:
            raise StepFailedError(str(error), "check database.driver and database.url") from error
        if revision is not None and revision not in REVISIONS:
            raise StepFailedError(
                f"its schema {revision} is newer than the newest one of this version ({REVISIONS[-1]})",
                "upgrade mezite here, or restore an older backup",
            )
        state = "up to date" if revision == REVISIONS[-1] else "migrated at the next start"
        return f"{self.database.description}, schema {revision or 'none'}, {state}"

    async def open_keys(self) -> str:
        """Whether the private keys of the CAs can be used."""
        database = self.database
        if database is None:
            raise nothing_to_do("made at the first start")
        if await database.read(current_revision) is None:
            raise nothing_to_do("made at the first start")
        for purpose in Purpose:
            if await database.read(certificate_authorities.get_active, purpose=purpose.value) is None:
                raise nothing_to_do("made at the next start")
        config = self.config
        try:
            # All are there, so that opening makes none.
            self.authorities = await CertificateAuthorities.open(
                database,
                cluster=config.cluster_name,
                passphrase=config.ca_key_passphrase,
                sources=self.sources,
            )
        except CaPassphraseError as error:
            raise StepFailedError(
                str(error), "set ca_key_passphrase to what it was when the CAs were made"
            ) from error
        return f"pin sha256:{self.authorities.host_pin}"

    async def examine_apps(self) -> Sequence[Finding]:
        """What is wrong with the applications in the database."""
        database = self.database
        if database is None or await database.read(current_revision) != REVISIONS[-1]:
            return ()
        return await examine_stored_apps(self.config, database, self.sources, hub_runs=bool(self.held))

    async def compare_clocks(self) -> str:
        """How far the clocks here and in the database are apart."""
        if self.database is None:
            raise nothing_to_do("there is no database to compare with")
        if self.database.dialect == "sqlite":
            raise nothing_to_do("the database is on this machine, with the same clock")
        database_time = await self.database.read(database_clock.now)
        return clock_offset(self.sources.now(), database_time, "the database's")

    def _bound(self) -> dict[str, str]:
        """What each protocol is served on."""
        bound = {name: str(listen) for name, listen in self.listeners().items() if listen.port}
        if self.config.proxy.single_port and "web" in bound:
            shared = ("ssh", "tunnel", *(("auth",) if self.config.auth.enabled else ()))
            bound |= dict.fromkeys(shared, bound["web"])
        return bound

    async def test_public_address(self, walk: Walk, idle_seconds: int) -> LoadBalancerReport | None:
        """What survives on the way from outside, as far as it shows from beside the hub."""
        public = self.config.proxy.public_addr
        why = ""
        if public is None:
            why = "proxy.public_addr is not set"
        elif self.authorities is None or "web" not in self.held:
            why = "the hub does not run"
        if public is None or self.authorities is None or why:
            walk.skip("public address", why)
            return None
        addresses = PublicAddresses(str(public))
        addresses.bound(self._bound())
        report = await run_balancer_probe(
            BalancerProbe(
                public=addresses.advertised(),
                hub=addresses.listening(),
                is_own_certificate=own_certificate_check(self.authorities, self.sources),
                probes=SelfProbes(),
                idle_seconds=idle_seconds,
                inside_the_hub=False,
            )
        )
        walk.findings.extend(report.findings)
        return report


@attrs.frozen
class _PortStep:
    doctor: _HubDoctor
    name: str
    listen: ListenAddress

    async def try_port(self) -> str:
        """Whether it can be bound, or is held by a hub already."""
        host, port = self.listen.host, self.listen.port
        if port == 0:
            raise nothing_to_do("any free port is taken")
        try:
            listeners = await trio.open_tcp_listeners(port, host=host or None)
        except OSError as error:
            return await self._explain(error)
        for listener in listeners:
            await listener.aclose()
        return f"{join_host_port(host, port)} is free"

    async def _explain(self, error: OSError) -> str:
        shown = join_host_port(self.listen.host, self.listen.port)
        if error.errno == errno.EADDRINUSE:
            return await self._look_at_holder(shown)
        hints = {
            errno.EACCES: "ports below 1024 need root or CAP_NET_BIND_SERVICE",
            errno.EADDRNOTAVAIL: f"this machine has no such address: check {_KEYS[self.name]}",
        }
        why = error.strerror or str(error)
        raise StepFailedError(
            f"{shown}: {why.lower()}", hints.get(error.errno or 0, f"check {_KEYS[self.name]}")
        )

    async def _look_at_holder(self, shown: str) -> str:
        host = _LOOPBACK.get(self.listen.host, self.listen.host)
        answer = await what_listens(join_host_port(host, self.listen.port), self.listen.port)
        ours = set(_OURS[self.name])
        if self.doctor.config.proxy.single_port and self.name == "web":
            ours.add(Answer.TUNNEL)
        header_wanted = self.doctor.config.proxy.proxy_protocol == "require"
        if answer in ours or (answer is Answer.CLOSED and header_wanted):
            self.doctor.held.add(self.name)
            return f"{shown} is held by a hub that runs"
        raise StepFailedError(
            f"{shown} is in use by something else ({answer.value})",
            f"stop what uses the port, or choose another with {_KEYS[self.name]}",
        )


def _look_at_data_dir(path: Path) -> str:
    try:
        status = path.stat()
    except FileNotFoundError:
        raise nothing_to_do(f"{path} is made at the first start") from None
    if not stat.S_ISDIR(status.st_mode):
        raise StepFailedError(f"{path} is not a directory", "set data_dir to a directory")
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise StepFailedError(
            f"{path} cannot be written by this user",
            f"run mezhub doctor as the hub's user, or give it the directory: chown USER {path}",
        )
    if status.st_mode & _WRITABLE_BY_OTHERS:
        raise StepFailedError(f"others can write to {path}", f"chmod 700 {path}")
    return f"{path}, mode {stat.S_IMODE(status.st_mode):04o}"


def _is_missing_file(url: str) -> bool:
    return url.startswith(_SQLITE) and not Path(url.removeprefix(_SQLITE)).exists()
