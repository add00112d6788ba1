# SPDX-License-Identifier: Apache-2.0
"""Real nginx and HAProxy on loopback, with whatever configuration a test wants."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from mezite.testing.self_signed import self_signed_pem

START_SECONDS = 15


def certificate_files(folder: Path) -> tuple[Path, Path]:
    """A certificate for localhost and 127.0.0.1 and its key; for HAProxy, the first holds both."""
    certificate, key = self_signed_pem()
    (folder / "cert.pem").write_bytes(certificate + key)
    (folder / "key.pem").write_bytes(key)
    return folder / "cert.pem", folder / "key.pem"


@contextmanager
def nginx(folder: Path, *, http: str = "", stream: str = "", wait: Sequence[str] = ()) -> Iterator[None]:
    """nginx with these two blocks until the end of the block; waits for the addresses to listen."""
    folder.mkdir(parents=True, exist_ok=True)
    cert, key = certificate_files(folder)
    tls = f"ssl_certificate {cert}; ssl_certificate_key {key};"
    temp = "".join(
        f"{name}_temp_path {folder}/{name}; " for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n"
        f"daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log warn;\nevents {{}}\n"
        f"http {{ access_log off; {temp}{tls}\n{http}\n}}\n"
        f"stream {{ {tls}\n{stream}\n}}\n"
    )
    with running(["nginx", "-p", str(folder), "-c", str(config)], folder, wait):
        yield


@contextmanager
def haproxy(folder: Path, sections: str, *, wait: Sequence[str] = ()) -> Iterator[None]:
    """HAProxy with these sections; `CERT` in them stands for the file with certificate and key."""
    folder.mkdir(parents=True, exist_ok=True)
    cert, _key = certificate_files(folder)
    config = folder / "haproxy.cfg"
    config.write_text(
        "global\n  log stderr format raw local0 warning\ndefaults\n  log global\n  timeout connect 5s\n"
        "  timeout client 1m\n  timeout server 1m\n" + sections.replace("CERT", str(cert))
    )
    with running(["haproxy", "-f", str(config), "-db"], folder, wait):
        yield


@contextmanager
def running(command: Sequence[str], folder: Path, wait: Sequence[str]) -> Iterator[None]:
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        try:
            for address in wait:
                wait_for_listener(address, process, folder)
            yield
        finally:
            process.terminate()
            process.wait(10)


def wait_for_listener(address: str, process: subprocess.Popen[bytes], folder: Path) -> None:
    """A process of somebody else's says nothing when it is ready: try until it answers."""
    host, port = address.split(":")
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except ConnectionRefusedError:
            threading.Event().wait(0.02)
        else:
            return
    raise AssertionError(f"nothing listens on {address}: {(folder / 'output').read_text()}")
