# SPDX-License-Identifier: Apache-2.0
"""Stock OpenSSH clients against servers of this package on loopback, with a throw-away authority."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import attrs
import trio
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    SSHCertificate,
    SSHCertificateBuilder,
    SSHCertificateType,
    load_ssh_public_identity,
)

from mezite.ssh.errors import SshError
from mezite.ssh.jump_server import JumpService, OpenNode, serve_jump_ssh
from mezite.ssh.limits import SshLimits
from mezite.ssh.login_dialogue import Prove
from mezite.ssh.node_server import HostIdentity, NodeService, serve_node_ssh
from mezite.ssh.policy import (
    ChannelKind,
    PeerAddress,
    Permissions,
    Refusal,
    RefusalInfo,
    SessionInfo,
    SessionOutcome,
    SshGrant,
)
from mezite.ssh.spawn import ProcessSpawner

EVERYTHING = Permissions(pty=True, port_forwarding=True, agent_forwarding=True, file_copy=True)
ME = "root" if os.geteuid() == 0 else os.environ.get("USER", "nobody")


def openssh_public(key: Ed25519PrivateKey) -> str:
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
        .decode()
    )


def issue(
    ca: Ed25519PrivateKey,
    key: Ed25519PrivateKey,
    principals: list[str],
    kind: SSHCertificateType = SSHCertificateType.USER,
    *,
    lifetime: float = 3600,
) -> SSHCertificate:
    now = int(time.time())
    return (
        SSHCertificateBuilder()
        .public_key(key.public_key())
        .serial(7)
        .type(kind)
        .key_id(b"alice")
        .valid_principals([name.encode() for name in principals])
        .valid_after(now - 300)
        .valid_before(int(now + lifetime))
        .sign(ca)
    )


def blob_of(certificate: SSHCertificate) -> bytes:
    return base64.b64decode(certificate.public_bytes().split()[1])


def parse_blob(blob: bytes) -> SSHCertificate | None:
    length = int.from_bytes(blob[:4], "big")
    try:
        identity = load_ssh_public_identity(blob[4 : 4 + length] + b" " + base64.b64encode(blob))
    except ValueError:
        return None
    return identity if isinstance(identity, SSHCertificate) else None


def unused_host_identity() -> HostIdentity:
    """For tests whose client does not look at the host's certificate."""
    return Authority().host("node-1")


@attrs.define
class Authority:
    ca: Ed25519PrivateKey = attrs.field(factory=Ed25519PrivateKey.generate)

    def host(self, *names: str) -> HostIdentity:
        key = Ed25519PrivateKey.generate()
        return HostIdentity(key, blob_of(issue(self.ca, key, list(names), SSHCertificateType.HOST)))

    def policy(self, **changes) -> TestPolicy:
        return TestPolicy(self.ca, **changes)


@attrs.define
class TestPolicy:
    """Enough of a verifier for tests; the product's own lives in core.certificates."""

    __test__ = False
    ca: Ed25519PrivateKey
    permissions: Permissions = EVERYTHING
    force_command: str | None = None
    denied: set[ChannelKind] = attrs.field(factory=set)
    logins: set[str] | None = None
    asked: list[tuple[ChannelKind, str]] = attrs.field(factory=list)
    offers: list[tuple[str, bytes]] = attrs.field(factory=list)
    expires_at: float | None = None
    needs_proof: bool = False

    def authenticate(self, login: str, certificate: bytes) -> SshGrant | Refusal:
        self.offers.append((login, certificate))
        parsed = parse_blob(certificate)
        if parsed is None:
            return Refusal(message="not a certificate")
        signer = parsed.signature_key().public_bytes_raw()
        if signer != self.ca.public_key().public_bytes_raw():
            return Refusal(message="unknown authority")
        parsed.verify_cert_signature()
        if not parsed.valid_after <= time.time() < parsed.valid_before:
            return Refusal(message="your certificate has expired; log in again", explain=True)
        if login.encode() not in parsed.valid_principals:
            return Refusal(message=f"login {login} is not allowed for you", explain=True)
        return SshGrant(
            user=parsed.key_id.decode(),
            login=login,
            permissions=self.permissions,
            certificate_id=str(parsed.serial),
            expires_at=parsed.valid_before if self.expires_at is None else self.expires_at,
            force_command=self.force_command,
            needs_proof=self.needs_proof,
        )

    def authorize_channel(self, grant: SshGrant, kind: ChannelKind, target: str) -> Refusal | None:
        self.asked.append((kind, target))
        return Refusal(message="denied by policy") if kind in self.denied else None


@attrs.define
class Recorder:
    """Hooks that remember."""

    started: list[SessionInfo] = attrs.field(factory=list)
    ended: list[tuple[SessionInfo, SessionOutcome]] = attrs.field(factory=list)
    refusals: list[RefusalInfo] = attrs.field(factory=list)
    fail: bool = False
    gate: trio.Event | None = None
    waiting: int = 0
    changed: trio.Event = attrs.field(factory=trio.Event)

    def notify(self) -> None:
        self.changed.set()
        self.changed = trio.Event()

    async def session_started(self, info: SessionInfo) -> None:
        if self.fail:
            raise RuntimeError("no disk space")
        if self.gate is not None:
            self.waiting += 1
            self.notify()
            await self.gate.wait()
        self.started.append(info)
        self.notify()

    async def session_ended(self, info: SessionInfo, outcome: SessionOutcome) -> None:
        self.ended.append((info, outcome))
        self.notify()

    async def refused(self, info: RefusalInfo) -> None:
        self.refusals.append(info)
        self.notify()

    async def wait_for(self, condition: Callable[[], object]) -> None:
        with trio.fail_after(10):
            while not condition():
                await self.changed.wait()


@attrs.define
class Identity:
    """A user's files for stock clients."""

    folder: Path
    key: Ed25519PrivateKey
    authority: Authority

    def write(self, certificate: SSHCertificate | None) -> Path:
        path = self.folder / "id"
        path.write_bytes(
            self.key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.OpenSSH,
                serialization.NoEncryption(),
            )
        )
        path.chmod(0o600)
        if certificate is not None:
            (self.folder / "id-cert.pub").write_bytes(certificate.public_bytes() + b" alice\n")
        return path


@attrs.define
class Server:
    """A server on loopback, and how stock clients reach it."""

    port: int
    config: Path
    authority: Authority
    policy: TestPolicy
    hooks: Recorder
    errors: list[BaseException]
    identity: Identity
    connections: int = 0
    active: int = 0

    def command(self, *args: str, options: tuple[str, ...] = (), login: str = ME) -> list[str]:
        """Of stock ssh; ``args`` are the remote command."""
        return [*self.program("ssh"), *options, "-l", login, "node-1", *args]

    def program(self, name: str, *args: str) -> list[str]:
        """Of stock scp or sftp."""
        path = shutil.which(name)
        assert path is not None, f"{name} is not installed"
        return [path, "-F", str(self.config), *args]

    async def ssh(
        self,
        *args: str,
        options: tuple[str, ...] = (),
        login: str = ME,
        data: bytes = b"",
        seconds: float = 20,
    ) -> subprocess.CompletedProcess[bytes]:
        command = self.command(*args, options=options, login=login)
        return await run(command, data=data, seconds=seconds)


def asking(folder: Path, answer: str) -> dict[str, str]:
    """The environment in which ssh asks a program that prints ``answer``; what it was asked is in the file
    ``asked``.
    """
    script = folder / "askpass"
    script.write_text(f'#!/bin/sh\necho "$1" >> {folder / "asked"}\necho "{answer}"\n')
    script.chmod(0o700)
    return {**os.environ, "SSH_ASKPASS": str(script), "SSH_ASKPASS_REQUIRE": "force"}


async def run(
    command: list[str], *, data: bytes = b"", seconds: float = 20, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    with trio.fail_after(seconds):
        return await trio.run_process(
            command, stdin=data, capture_stdout=True, capture_stderr=True, check=False, env=env
        )


@contextlib.asynccontextmanager
async def listening(serve) -> AsyncIterator[int]:
    """``serve(stream)`` on a loopback port for the length of the block."""
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, serve, listeners)
        try:
            yield port
        finally:
            nursery.cancel_scope.cancel()


def client_config(folder: Path, authority: Authority, identity: Identity, port: int, extra: str = "") -> Path:
    known = folder / "known_hosts"
    known.write_text(f"@cert-authority * {openssh_public(authority.ca)}\n")
    config = folder / f"config-{port}"
    config.write_text(
        f"""{extra}
Host *
  HostName 127.0.0.1
  HostKeyAlias node-1
  Port {port}
  User {ME}
  IdentityFile {identity.folder / "id"}
  CertificateFile {identity.folder / "id-cert.pub"}
  IdentitiesOnly yes
  UserKnownHostsFile {known}
  GlobalKnownHostsFile /dev/null
  StrictHostKeyChecking yes
  PasswordAuthentication no
  BatchMode yes
  LogLevel INFO
  ControlPath none
"""
    )
    return config


def peer_of(stream: trio.SocketStream) -> PeerAddress:
    ip, port = stream.socket.getpeername()[:2]
    own_ip, own_port = stream.socket.getsockname()[:2]
    return PeerAddress(client_ip=ip, client_port=port, server_ip=own_ip, server_port=own_port)


@contextlib.asynccontextmanager
async def running_node(
    folder: Path,
    spawner: ProcessSpawner,
    *,
    limits: SshLimits | None = None,
    policy: TestPolicy | None = None,
    logins: tuple[str, ...] = (ME,),
    prove: Prove | None = None,
    **changes,
) -> AsyncIterator[Server]:
    authority = Authority(policy.ca) if policy else Authority()
    policy = policy or authority.policy()
    hooks = Recorder()
    service = NodeService(
        host=authority.host("node-1"),
        hooks=hooks,
        spawner=spawner,
        clock=time.time,
        new_session_id=lambda: str(uuid.uuid4()),
        limits=limits or SshLimits(),
        **changes,
    )
    identity = Identity(folder, Ed25519PrivateKey.generate(), authority)
    identity.write(issue(authority.ca, identity.key, list(logins)))
    errors: list[BaseException] = []

    async def serve(stream: trio.SocketStream) -> None:
        server.connections += 1
        server.active += 1
        try:
            await serve_node_ssh(stream, service, policy=policy, peer=peer_of(stream), prove=prove)
        except SshError as error:
            errors.append(error)
        finally:
            server.active -= 1
            hooks.notify()

    async with listening(serve) as port:
        config = client_config(folder, authority, identity, port)
        server = Server(port, config, authority, policy, hooks, errors, identity)
        yield server


@contextlib.asynccontextmanager
async def running_hub(authority: Authority, open_node: OpenNode, **changes) -> AsyncIterator[int]:
    service = JumpService(host=authority.host("hub"), clock=time.time, **changes)

    async def serve(stream: trio.SocketStream) -> None:
        with contextlib.suppress(SshError):
            await serve_jump_ssh(
                stream, service, policy=authority.policy(), open_node=open_node, peer=peer_of(stream)
            )

    async with listening(serve) as port:
        yield port
