# SPDX-License-Identifier: Apache-2.0
"""What msh remembers, and what it says when that is damaged."""

import os
import stat
from pathlib import Path

import attrs
import pytest

from mezite.cli.hub_client.profile_store import CurrentProfile, Profile, ProfileStore
from mezite.cli.terminal.errors import CliError

CURRENT = CurrentProfile(
    host="hub.example.com", user="alice", cluster="mezite", proxy_addr="hub.example.com:3080"
)
PROFILE = Profile(
    ssh_key=b"-----BEGIN OPENSSH PRIVATE KEY-----\nx\n",
    ssh_certificate=b"ssh-ed25519-cert-v01@openssh.com AAAA\n",
    tls_key=b"-----BEGIN PRIVATE KEY-----\n",
    tls_certificate=b"-----BEGIN CERTIFICATE-----\n",
    ca_pem=b"-----BEGIN CERTIFICATE-----\n",
    known_hosts=b"@cert-authority * ssh-ed25519 AAAA\n",
)
FILES = {"current", "hub.example.com/known_hosts", "hub.example.com/ca.pem"} | {
    f"hub.example.com/alice/{name}" for name in ("key", "key-cert.pub", "tls.crt", "tls.key")
}


@pytest.fixture
def store(tmp_path):
    return ProfileStore(tmp_path / "msh")


def files(store):
    return {str(path.relative_to(store.root)) for path in store.root.rglob("*") if path.is_file()}


def test_what_is_saved_is_loaded(store):
    store.save(CURRENT, PROFILE)
    assert store.current() == CURRENT
    assert store.load(CURRENT) == PROFILE
    assert files(store) == FILES


def test_nobody_else_may_look(store):
    """F7."""
    before = os.umask(0)
    try:
        store.save(CURRENT, PROFILE)
    finally:
        os.umask(before)
    for path in (store.root, *store.root.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_saving_again_replaces_whole_files(store):
    store.save(CURRENT, PROFILE)
    with (store.user_directory("hub.example.com", "alice") / "key").open("rb") as old:
        newer = attrs.evolve(PROFILE, ssh_key=b"-----BEGIN OPENSSH PRIVATE KEY-----\nnew\n")
        store.save(CURRENT, newer)
        assert old.read() == PROFILE.ssh_key, "a reader keeps the file it opened"
    assert store.load(CURRENT) == newer
    assert files(store) == FILES


def test_where_it_is():
    assert ProfileStore.from_environment({"MSH_HOME": "/x"}).root == Path("/x")
    assert ProfileStore.from_environment({}).root == Path.home() / ".msh"


def test_nobody_signed_in(store):
    with pytest.raises(CliError) as caught:
        store.current()
    assert caught.value.what == "not signed in"
    assert caught.value.hint == "run msh login --proxy=HOST"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        '{"host": 1}',
        '{"host": 1, "user": "a", "cluster": "c", "proxy_addr": "p"}',
        "\xff",
    ],
)
def test_a_damaged_current(store, text):
    store.save(CURRENT, PROFILE)
    (store.root / "current").write_bytes(text.encode("latin-1"))
    with pytest.raises(CliError) as caught:
        store.current()
    assert (caught.value.why, caught.value.hint) == ("it is damaged", "run msh login again")


@pytest.mark.parametrize(
    "name", ["hub.example.com/alice/key", "hub.example.com/alice/tls.crt", "hub.example.com/ca.pem"]
)
@pytest.mark.parametrize("data", [b"", b"garbage", b"-" * (1024 * 1024 + 1)])
def test_damaged_files(store, name, data):
    store.save(CURRENT, PROFILE)
    (store.root / name).write_bytes(data)
    with pytest.raises(CliError, match=name) as caught:
        store.load(CURRENT)
    assert caught.value.why == "it is damaged"


def test_missing_and_unreadable_files(store):
    store.save(CURRENT, PROFILE)
    key = store.user_directory("hub.example.com", "alice") / "key"
    key.unlink()
    with pytest.raises(CliError) as caught:
        store.load(CURRENT)
    assert caught.value.why == "it is missing"
    key.mkdir()
    with pytest.raises(CliError) as caught:
        store.load(CURRENT)
    assert caught.value.why == "Is a directory"


def test_forgetting(store):
    store.save(CURRENT, PROFILE)
    store.forget(CURRENT)
    assert files(store) == {"hub.example.com/known_hosts", "hub.example.com/ca.pem"}
    store.forget(CURRENT)
    with pytest.raises(CliError, match="not signed in"):
        store.current()


def test_what_is_not_ours_stays(store):
    store.save(CURRENT, PROFILE)
    (store.user_directory("hub.example.com", "alice") / "notes").write_text("mine")
    store.forget(CURRENT)
    assert "hub.example.com/alice/notes" in files(store)
    (store.root / "current").mkdir()
    with pytest.raises(CliError, match="cannot remove"):
        store.forget(CURRENT)


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "../x", "-rf", ".hidden", "a\x00", "a\n", "x" * 254])
def test_names_cannot_leave_the_directory(store, name):
    """G4."""
    with pytest.raises(CliError):
        store.user_directory("hub", name)
    with pytest.raises(CliError):
        store.host_directory(name)
    with pytest.raises(CliError):
        store.save(attrs.evolve(CURRENT, user=name), PROFILE)


def test_a_prepared_symbolic_link_is_replaced_not_followed(store, tmp_path):
    """G3."""
    store.save(CURRENT, PROFILE)
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    key = store.user_directory("hub.example.com", "alice") / "key"
    key.unlink()
    key.symlink_to(victim)
    store.save(CURRENT, PROFILE)
    assert victim.read_text() == "untouched"
    assert not key.is_symlink()


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "msh").write_text("a file")
    with pytest.raises(CliError, match="cannot write"):
        ProfileStore(tmp_path / "msh").save(CURRENT, PROFILE)


def test_a_failed_write_leaves_nothing_behind(store):
    store.save(CURRENT, PROFILE)
    target = store.host_directory("hub.example.com") / "ca.pem"
    target.unlink()
    target.mkdir()
    with pytest.raises(CliError, match="cannot write"):
        store.save(CURRENT, PROFILE)
    assert list(store.root.rglob(".*")) == []
