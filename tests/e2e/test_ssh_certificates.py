# SPDX-License-Identifier: Apache-2.0
"""Our verifier against OpenSSH's: what we accept, sshd accepts (threat A4), and ssh-keygen can read.

One sshd trusts the same CAs as our verifier. Each certificate of the matrix is offered to it as it is by a
client that does not look into it, with a proof of possession of the right key.
"""

import getpass
import os
import socket
import subprocess
import time
from pathlib import Path

import attrs
import paramiko
import pytest
from cryptography.hazmat.primitives import serialization

from mezite.core.certificates.keys import generate_ed25519
from mezite.core.certificates.openssh_key import openssh_private_key
from mezite.core.certificates.refusal import CertificateRefused
from mezite.core.certificates.ssh import (
    NO_LOGIN_PRINCIPAL,
    authorized_key_line,
    verify_host_certificate,
    verify_user_certificate,
)
from mezite.testing.certificates import ThrowAwayCa
from mezite.testing.ports import free_port
from tests.core.certificates.ssh_material import Material
from tests.core.certificates.ssh_matrix import MUTATIONS

pytestmark = pytest.mark.e2e

LOGIN = getpass.getuser()
START_SECONDS = 10

CONFIGURATION = """
ListenAddress 127.0.0.1
HostKey {directory}/host
HostCertificate {directory}/host-cert.pub
TrustedUserCAKeys {directory}/cas
AuthorizedKeysFile none
AuthenticationMethods publickey
PermitRootLogin yes
StrictModes no
UsePAM no
PidFile none
LoginGraceTime 20
LogLevel VERBOSE
MaxAuthTries 6
"""


class Sshd:
    """A real sshd as the current user on a free port, with a host certificate from our CA."""

    def __init__(self, directory: Path, trusted: frozenset[bytes], ca=None, host=None) -> None:
        self.directory = directory
        self.log = directory / "log"
        self.ca = ca or ThrowAwayCa(int(time.time()))
        if host is None:
            host_key = generate_ed25519()
            host = host_key, self.ca.host_certificate(host_key.public_key(), "web-1")
        host_key, certificate = host
        self.write("host", openssh_private_key(host_key))
        self.write("host-cert.pub", authorized_key_line(certificate).encode())
        cas = [*trusted, self.ca.user_ssh_blob]
        self.write("cas", "".join(authorized_key_line(blob) + "\n" for blob in cas).encode())
        self.port = free_port()
        text = CONFIGURATION.format(directory=directory) + f"Port {self.port}\n"
        self.write("config", text.encode())
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        command = ["/usr/sbin/sshd", "-D", "-f", str(directory / "config"), "-E", str(self.log)]
        self.process = subprocess.Popen(command)

    def write(self, name: str, data: bytes) -> Path:
        path = self.directory / name
        path.write_bytes(data)
        path.chmod(0o600)
        return path

    def wait_until_listening(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
            except ConnectionRefusedError:
                assert self.process.poll() is None, self.log.read_text()
                assert time.monotonic() < deadline, self.log.read_text()
            else:
                return

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)

    def accepts(self, key: paramiko.PKey, certificate: bytes, type_name: str) -> bool:
        """Log in with ``key`` and whatever ``certificate`` is."""
        key.public_blob = paramiko.pkey.PublicBlob(type_name, certificate)
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as connection:
            transport = paramiko.Transport(connection)
            try:
                transport.start_client(timeout=10)
                transport.auth_publickey(LOGIN, key)
                return transport.is_authenticated()
            except paramiko.SSHException:
                return False
            finally:
                transport.close()


MATERIAL = Material(LOGIN, int(time.time()))


@pytest.fixture(scope="module")
def sshd(tmp_path_factory):
    server = Sshd(tmp_path_factory.mktemp("sshd"), MATERIAL.trusted())
    try:
        server.wait_until_listening()
        yield server
    finally:
        server.stop()


def paramiko_key(name: str, directory: Path) -> paramiko.PKey:
    path = directory / f"private-{name}"
    pem = MATERIAL.key(name).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
    )
    path.write_bytes(pem)
    return paramiko.PKey.from_path(path)


def we_accept(blob: bytes, *, honours_force_command: bool) -> bool:
    try:
        verify_user_certificate(
            blob,
            trusted_cas=MATERIAL.trusted(),
            login=LOGIN,
            source_address="127.0.0.1",
            now=int(time.time()),
            honours_force_command=honours_force_command,
        )
    except CertificateRefused:
        return False
    return True


def type_of(blob: bytes, key: paramiko.PKey) -> str:
    """The type name the certificate carries, else that of the key: an offer needs one."""
    try:
        return authorized_key_line(blob).split()[0]
    except ValueError:
        return f"{key.get_name()}-cert-v01@openssh.com"


STRICTER_THAN_SSHD = {
    "login with NUL",
    "empty principal",
    "doubled principal",
    "principal not UTF-8",
    "CA RSA 1024, though trusted",
    "verify-required on a plain key",
    "critical options out of order",
    "forced command that nobody honours",
    "forced command empty",
    "forced command with newline",
    "extensions out of order",
    "extension twice",
    "roles with a space",
    "roles twice the same",
    "roles not wrapped",
    "traits not JSON",
    "traits not canonical",
    "traits empty",
    "no access request",
    "requests not in order",
    "a request twice",
    "a device with a path",
    "two devices",
    "key id no user name",
    "key id empty",
    "key id with newline",
    "reserved field used",
    "no nonce",
    "nonce of 65 bytes",
    "larger than any certificate",
    "user key RSA 1024",
    "user key RSA with padding",
}
"""Certificates that sshd (9.2) takes and we refuse, on purpose: no CA writes them, so nobody misses them."""


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_what_we_accept_sshd_accepts_a4(mutation, sshd):
    blob = mutation.build(MATERIAL)
    ours = we_accept(blob, honours_force_command=mutation.honours_force_command)
    assert ours == (mutation.reason is None)
    key = paramiko_key(mutation.user, sshd.directory)
    if ours:
        assert sshd.accepts(key, blob, type_of(blob, key)), sshd.log.read_text()[-2000:]
        read = subprocess.run(
            ["ssh-keygen", "-L", "-f", "-"],
            input=authorized_key_line(blob),
            text=True,
            capture_output=True,
            check=False,
        )
        assert read.returncode == 0, read.stderr
        assert LOGIN in read.stdout
    elif sshd.accepts(key, blob, type_of(blob, key)):
        assert mutation.name in STRICTER_THAN_SSHD


def test_every_leniency_of_sshd_is_one_of_the_matrix():
    assert {mutation.name for mutation in MUTATIONS if mutation.reason is not None} >= STRICTER_THAN_SSHD


@attrs.frozen
class Client:
    """The stock ssh client with a certificate from our CA, which knows hosts by our host CA only."""

    sshd: Sshd
    directory: Path

    def run(self, *command: str, host: str = "web-1", **changes) -> subprocess.CompletedProcess[str]:
        key = generate_ed25519()
        path = self.directory / "id"
        path.touch(mode=0o600)
        path.write_bytes(openssh_private_key(key))
        certificate = self.sshd.ca.user_certificate(key.public_key(), principals=(LOGIN,), **changes)
        (self.directory / "id-cert.pub").write_text(authorized_key_line(certificate) + "\n")
        known_hosts = self.directory / "known_hosts"
        known_hosts.write_text(f"@cert-authority * {authorized_key_line(self.sshd.ca.host_ssh_blob)}\n")
        options = {
            "BatchMode": "yes",
            "IdentitiesOnly": "yes",
            "StrictHostKeyChecking": "yes",
            "UserKnownHostsFile": known_hosts,
            "GlobalKnownHostsFile": "none",
            "HostKeyAlias": host,
        }
        flags = [f"-o{name}={value}" for name, value in options.items()]
        return subprocess.run(
            [
                "ssh",
                "-F",
                "none",
                "-i",
                path,
                "-p",
                str(self.sshd.port),
                *flags,
                f"{LOGIN}@127.0.0.1",
                *command,
            ],
            stdin=subprocess.DEVNULL,
            text=True,
            capture_output=True,
            timeout=30,
            check=False,
        )


@pytest.fixture
def client(sshd, tmp_path):
    return Client(sshd, tmp_path)


def test_stock_ssh_accepts_both_our_certificates(client):
    done = client.run("echo", "from", "here")
    assert (done.returncode, done.stdout) == (0, "from here\n"), done.stderr


def test_stock_ssh_refuses_the_host_certificate_of_another_name_a13(client):
    done = client.run("true", host="web-2")
    assert done.returncode == 255
    assert "Host key verification failed" in done.stderr


def test_a_forced_command_replaces_the_one_asked_for(client):
    done = client.run("echo", "asked", critical_options={"force-command": "echo forced"})
    assert done.stdout == "forced\n"


def test_stock_sshd_enforces_our_source_address(client):
    assert client.run("true", critical_options={"source-address": "127.0.0.0/8"}).returncode == 0
    assert client.run("true", critical_options={"source-address": "192.0.2.0/24"}).returncode == 255


def test_the_certificate_of_a_user_without_logins_is_good_for_nobody(client, sshd):
    key = generate_ed25519()
    blob = sshd.ca.user_certificate(key.public_key(), principals=(NO_LOGIN_PRINCIPAL,))
    path = client.directory / "nobody"
    path.write_bytes(openssh_private_key(key))
    assert not sshd.accepts(paramiko.PKey.from_path(path), blob, "ssh-ed25519-cert-v01@openssh.com")


@pytest.mark.parametrize(("before", "after"), [(-600, -300), (300, 600)])
def test_stock_ssh_refuses_host_certificates_outside_their_window(before, after, client, tmp_path):
    """The same verdict as ours, by a second sshd whose host certificate is expired or not valid yet."""
    now = int(time.time())
    key = generate_ed25519()
    ca = client.sshd.ca
    blob = ca.host_certificate(key.public_key(), "web-1", valid_after=now + before, valid_before=now + after)
    with pytest.raises(CertificateRefused):
        verify_host_certificate(blob, trusted_cas=[ca.host_ssh_blob], host_name="web-1", now=now)
    directory = tmp_path / "sshd"
    directory.mkdir()
    other = Sshd(directory, frozenset(), ca=ca, host=(key, blob))
    try:
        other.wait_until_listening()
        done = attrs.evolve(client, sshd=other).run("true")
        assert done.returncode == 255
        assert "Host key verification failed" in done.stderr
    finally:
        other.stop()
