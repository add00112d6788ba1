# SPDX-License-Identifier: Apache-2.0
"""A stock sshd on loopback with one key, as what the benches compare with."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import attrs

from mezite.testing.ports import free_port

START_SECONDS = 10
CIPHER = "aes128-gcm@openssh.com"


@attrs.frozen
class PlainSshd:
    folder: Path
    port: int
    pid: int

    def client(self, *arguments: str) -> list[str]:
        """The command line of an ssh client that logs in there."""
        login = pwd.getpwuid(os.getuid()).pw_name
        options = {
            "IdentityFile": str(self.folder / "user_key"),
            "IdentitiesOnly": "yes",
            "IdentityAgent": "none",
            "UserKnownHostsFile": str(self.folder / "known_hosts"),
            "GlobalKnownHostsFile": "none",
            "StrictHostKeyChecking": "yes",
            "Ciphers": CIPHER,
            "ExitOnForwardFailure": "yes",
        }
        settings = [text for name, value in options.items() for text in ("-o", f"{name}={value}")]
        return ["ssh", "-F", "none", *settings, "-p", str(self.port), "-l", login, *arguments]


@contextlib.contextmanager
def plain_sshd(folder: Path) -> Iterator[PlainSshd]:
    """Run an sshd whose files lie in ``folder``; it has ended when the block ends."""
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)], check=True)
    port = free_port()
    host_key = (folder / "host_key.pub").read_text()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}")
    settings = {
        "Port": port,
        "ListenAddress": "127.0.0.1",
        "HostKey": folder / "host_key",
        "AuthorizedKeysFile": folder / "user_key.pub",
        "Ciphers": CIPHER,
        "PidFile": "none",
        "StrictModes": "no",
        "UsePAM": "no",
        "PermitRootLogin": "yes",
        "MaxStartups": "100",
        "AllowTcpForwarding": "yes",
    }
    config = folder / "sshd_config"
    config.write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    process = subprocess.Popen(["/usr/sbin/sshd", "-D", "-f", str(config), "-E", str(folder / "sshd.log")])
    try:
        wait_for_port(port)
        yield PlainSshd(folder, port, process.pid)
    finally:
        process.terminate()
        process.wait()


def wait_for_port(port: int) -> None:
    """Until something listens on loopback there."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), START_SECONDS).close()
        except ConnectionRefusedError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
