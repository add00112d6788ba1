# SPDX-License-Identifier: Apache-2.0
"""Mozilla's profiles on the public ports: by sslyze, and by `openssl s_client` with a line for each rule.

sslyze judges by what Mozilla writes; s_client also asks for what sslyze does not know, as our own protocols by ALPN.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import attrs
import pytest
import trio

from tests.hub.live_hub import LiveHub, live_hub

WEAKEST = "@SECLEVEL=0"
"""Our own library would not even offer what must be refused."""

GOOD_TLS12 = "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"
GOOD_TLS13 = "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"
EVERYTHING_ELSE = "ALL:COMPLEMENTOFALL:" + ":".join(f"!{name}" for name in GOOD_TLS12) + f":{WEAKEST}"


@attrs.frozen
class Rule:
    """Options of s_client, and whether a handshake must come of them: at the web port, at the gRPC port."""

    options: tuple[str, ...]
    web: bool
    grpc: bool


ANY_CIPHER = ("-cipher", f"ALL:{WEAKEST}")
RULES = [
    Rule(("-tls1", *ANY_CIPHER), web=False, grpc=False),
    Rule(("-tls1_1", *ANY_CIPHER), web=False, grpc=False),
    Rule(("-tls1_2",), web=True, grpc=False),
    Rule(("-tls1_3",), web=True, grpc=True),
    *(Rule(("-tls1_2", "-cipher", name), web=True, grpc=False) for name in GOOD_TLS12),
    *(Rule(("-tls1_3", "-ciphersuites", name), web=True, grpc=True) for name in GOOD_TLS13),
    Rule(("-tls1_3", "-ciphersuites", "TLS_AES_128_CCM_SHA256"), web=False, grpc=False),
    Rule(("-tls1_2", "-cipher", EVERYTHING_ELSE), web=False, grpc=False),
    *(Rule(("-groups", name), web=True, grpc=True) for name in ("X25519", "P-256", "P-384")),
    *(
        Rule(("-tls1_2", "-cipher", f"ECDHE:{WEAKEST}", "-groups", name), web=False, grpc=False)
        for name in ("brainpoolP256r1", "secp256k1", "secp224r1")
    ),
]


MUTUAL = ("-alpn", "mezite-tunnel/1")
"""Agents. Without it, port 3024 takes a client for an outer TLS session, which is the web port's."""

ROOT = Path(__file__).parents[2]
SCANNER = ROOT / ".venv/sslyze/bin/python"
GROUPS = ROOT / "examples/openssl.cnf"

ONE_CURVE_EACH = """
import json, ssl
from mezite.net.tls_contexts import server_context, unverified_client_context
from mezite.testing.self_signed import self_signed_pem

server = server_context(*self_signed_pem(), ["h2"])
taken = {}
for curve in ("X25519", "prime256v1", "secp384r1", "secp521r1", "X448"):
    context = unverified_client_context(["h2"])
    context.set_ecdh_curve(curve)
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        context.wrap_bio(down, up).do_handshake()
    except ssl.SSLWantReadError:
        pass
    try:
        server.wrap_bio(up, down, server_side=True).do_handshake()
    except ssl.SSLWantReadError:
        taken[curve] = True
    except ssl.SSLError:
        taken[curve] = False
print(json.dumps(taken))
"""


async def s_client(address: str, *options: str) -> tuple[bool, str]:
    """Whether there was a handshake, and what s_client says of it."""
    result = await trio.run_process(
        ["openssl", "s_client", "-connect", address, "-servername", "localhost", *options],
        stdin=subprocess.DEVNULL,
        check=False,
        capture_stdout=True,
        stderr=subprocess.STDOUT,
    )
    text = result.stdout.decode(errors="replace")
    return "Cipher is (NONE)" not in text and "New, TLSv1" in text, text


async def obeys(hub: LiveHub, rule: Rule, wrong: list[str]) -> None:
    for port, expected in (("web", rule.web), ("auth", rule.grpc)):
        shaken, text = await s_client(hub.address(port), *rule.options)
        if shaken is not expected:
            wrong.append(f"{port} {' '.join(rule.options)}: handshake {shaken}\n{text}")


async def test_by_sslyze(tmp_path: Path) -> None:
    """Target T11: the web and the agents' outer sessions as *intermediate* says, gRPC as *modern* does."""
    if not SCANNER.exists():
        raise FileNotFoundError(f"{SCANNER} is not there: run bin/prepare scanner")
    async with live_hub(tmp_path) as hub:
        roots = tmp_path / "roots.pem"
        roots.write_text("\n".join(hub.hub.ground.authorities.host_tls_ca_pem))
        port = {name: hub.address(name).rpartition(":")[2] for name in ("web", "tunnel", "auth")}
        profiles = {"web": "intermediate", "tunnel": "intermediate", "auth": "modern"}
        wanted = [f"{profile}={port[name]}" for name, profile in profiles.items()]
        with trio.fail_after(90):
            result = await trio.run_process(
                [SCANNER, "-W", "ignore", Path(__file__).with_name("tls_scan.py"), roots, *wanted],
                capture_stdout=True,
                env={name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")},
            )
    issues = json.loads(result.stdout)
    assert issues == {number: {} for number in port.values()}


def test_the_exception_goes_with_a_configuration_of_openssl(tmp_path: Path) -> None:
    """As docs/listeners.md has it; asked in a process of its own, as OpenSSL reads it once."""
    result = subprocess.run(
        [sys.executable, "-c", ONE_CURVE_EACH],
        env={**os.environ, "OPENSSL_CONF": str(GROUPS), "COVERAGE_PROCESS_START": ""},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert json.loads(result.stdout) == {
        "X25519": True, "prime256v1": True, "secp384r1": True, "secp521r1": False, "X448": False,
    }  # fmt: skip


async def test_the_profile(tmp_path: Path) -> None:
    wrong: list[str] = []
    async with live_hub(tmp_path) as hub:
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for rule in RULES:
                    nursery.start_soon(partial(obeys, hub, rule, wrong))
            for version, expected in (("-tls1_2", False), ("-tls1_3", True)):
                shaken, text = await s_client(hub.address("tunnel"), version, *MUTUAL)
                assert shaken is expected, text
            _shaken, text = await s_client(hub.address("web"), "-tls1_2")
            assert "Secure Renegotiation IS supported" in text
            assert "Compression: NONE" in text
            assert "Extended master secret: yes" in text
            # Asking for a renegotiation takes until the port's deadline: tests/net/test_tls_contexts.py has that.
    assert wrong == []


@pytest.mark.parametrize("port", ["web", "auth"])
async def test_no_ticket_is_handed_out(tmp_path: Path, port: str) -> None:
    """Threat F1; where clients show certificates (gRPC), nothing else of TLS 1.3 resumes a session."""
    kept = tmp_path / "session"
    async with live_hub(tmp_path / "hub") as hub:
        with trio.fail_after(20):
            shaken, text = await s_client(hub.address(port), "-tls1_3", "-sess_out", str(kept))
        assert shaken
        assert "New Session Ticket" not in text
    assert not kept.exists()
