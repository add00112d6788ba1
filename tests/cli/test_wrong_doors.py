# SPDX-License-Identifier: Apache-2.0
"""Other people's clients at the wrong port of a hub: what they print, and what the hub logs."""

from __future__ import annotations

import logging
import subprocess
from collections.abc import Sequence

import pytest

from tests.cli.commands import HubInThread, run

pytestmark = pytest.mark.e2e


def output(command: Sequence[str]) -> str:
    """Everything that a client prints."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False
    )
    return done.stdout + done.stderr


def ssh(address: str) -> str:
    host, _, port = address.rpartition(":")
    options = ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]
    return output(["ssh", "-F", "none", *options, "-p", port, f"nobody@{host}", "true"])


def curl(url: str, *options: str) -> str:
    return output(["curl", "-sSk", "--max-time", "15", *options, url])


@pytest.mark.parametrize(
    ("port", "title"), [("web", "HTTPS port"), ("tunnel", "port of a mezite hub for agents")]
)
def test_ssh(hub: HubInThread, caplog: pytest.LogCaptureFixture, port: str, title: str) -> None:
    with caplog.at_level(logging.INFO, "mezite.ports"):
        printed = ssh(hub.hub.address(port))
    assert title in printed
    assert f"ssh and msh: {hub.hub.address('ssh')}" in printed
    assert "refused a peer at the wrong port" in caplog.text


@pytest.mark.parametrize("port", ["web", "ssh", "tunnel"])
def test_a_browser_without_tls(hub: HubInThread, caplog: pytest.LogCaptureFixture, port: str) -> None:
    with caplog.at_level(logging.INFO, "mezite.ports"):
        printed = curl(f"http://{hub.hub.address(port)}/", "-i")
    assert printed.startswith("HTTP/1.1 400 ")
    assert f"https://{hub.hub.address('web')}" in printed
    assert f"(MEZITE_PROXY_ADDR): {hub.hub.address('tunnel')}" in printed
    assert "refused a peer at the wrong port" in caplog.text


def test_a_browser_without_tls_at_the_grpc_port(hub: HubInThread) -> None:
    printed = curl(f"http://{hub.hub.address('auth')}/", "-i")
    assert printed.startswith("HTTP/1.1 400 ")
    assert "This is the gRPC port" in printed


@pytest.mark.parametrize("port", ["ssh", "tunnel"])
def test_a_browser_with_tls(hub: HubInThread, port: str) -> None:
    """TLS is the hub's own there, too: it comes about, and inside of it is the advice."""
    printed = curl(f"https://{hub.hub.address(port)}/", "-i", "--http1.1")
    assert printed.startswith("HTTP/1.1 400 ")
    assert f"https://{hub.hub.address('web')}" in printed


@pytest.mark.parametrize("port", ["web", "ssh", "tunnel"])
def test_a_grpc_client_without_tls(hub: HubInThread, port: str) -> None:
    result = run(
        "mezctl",
        f"--auth-server={hub.hub.address(port)}",
        "--plaintext",
        "nodes",
        "ls",
        environ={"MEZITE_AUTH_TOKEN": "x" * 64},
    )
    assert result.code == 1
    assert f"(MEZITE_AUTH_ADDR): {hub.hub.address('auth')}" in result.err


def test_tls_at_a_port_without(hub: HubInThread) -> None:
    printed = output(["openssl", "s_client", "-connect", hub.hub.address("diag")])
    assert "alert handshake failure" in printed
