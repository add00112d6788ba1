# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import stat
from pathlib import Path

import attrs
import pytest

from mezite.agent.identity_store import (
    AgentIdentityFiles,
    IdentityDamagedError,
    IdentityStore,
    StoredIdentity,
)

PEM = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
IDENTITY = StoredIdentity(
    agent_id="0190-aa",
    cluster_name="mezite",
    node_name="web-1",
    host_ca_pin="ab" * 32,
    tls_certificate_pem=PEM,
    ssh_host_certificate="ssh-ed25519-cert-v01@openssh.com AAAA",
    host_tls_ca_pem=(PEM, PEM.replace("AAAA", "BBBB")),
    user_ssh_ca=("ssh-ed25519 AAAA", "ssh-ed25519 BBBB"),
)
KEYS = AgentIdentityFiles(tls_key_pem=b"tls", ssh_key_pem=b"ssh")


def test_an_empty_folder_has_no_identity(tmp_path: Path) -> None:
    store = IdentityStore(tmp_path)
    assert store.load() is None
    assert store.load_keys() is None


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    store = IdentityStore(tmp_path)
    store.save_keys(KEYS)
    store.save(IDENTITY)
    assert IdentityStore(tmp_path).load() == IDENTITY
    assert IdentityStore(tmp_path).load_keys() == KEYS


def test_nobody_else_can_read_the_files(tmp_path: Path) -> None:
    """Threat F7."""
    store = IdentityStore(tmp_path)
    store.save_keys(KEYS)
    store.save(IDENTITY)
    assert stat.S_IMODE(store.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in store.folder.iterdir()} == {0o600}


def test_a_renewal_replaces_and_survives_an_unfinished_one(tmp_path: Path) -> None:
    store = IdentityStore(tmp_path)
    store.save(IDENTITY)
    (store.folder / ".x509.pem.new").write_text("left behind by a crash")
    renewed = attrs.evolve(IDENTITY, user_ssh_ca=("ssh-ed25519 CCCC",))
    store.save(renewed)
    assert store.load() == renewed
    assert not list(store.folder.glob(".*.new"))


@pytest.mark.parametrize("name", ["key", "ssh_host_key"])
def test_half_a_pair_of_keys_is_damage(tmp_path: Path, name: str) -> None:
    store = IdentityStore(tmp_path)
    store.save_keys(KEYS)
    (store.folder / name).unlink()
    with pytest.raises(IdentityDamagedError, match=name):
        store.load_keys()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("identity.json", b"{", "not JSON"),
        ("identity.json", b"[]", "does not have the keys"),
        ("identity.json", b'{"agent_id": "a"}', "does not have the keys"),
        (
            "identity.json",
            b'{"agent_id": 1, "cluster_name": "c", "host_ca_pin": "p", "node_name": "n"}',
            "empty or non-text",
        ),
        ("x509.pem", b"\xff", "not ASCII"),
        ("x509.pem", None, "is missing"),
    ],
)
def test_damage_names_the_file(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    store = IdentityStore(tmp_path)
    store.save(IDENTITY)
    path = store.folder / name
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(IdentityDamagedError, match=message) as caught:
        store.load()
    assert name in str(caught.value)


def test_keys_do_not_show_in_a_repr() -> None:
    """Threat P27."""
    assert "ssh" not in repr(KEYS).replace("ssh_key_pem", "")
