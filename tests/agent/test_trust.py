# SPDX-License-Identifier: Apache-2.0
"""An agent stores what it is told to trust before it uses it, and keeps what it has when that is nonsense."""

from pathlib import Path

import attrs
import pytest
import trio
import trio.testing

from mezite.agent.identity_store import IdentityStore
from mezite.agent.trust import TrustNews, adopt, is_outdated, key_ids_of
from mezite.core.certificates.keys import spki_sha256
from mezite.core.certificates.ssh import authorized_key_line
from mezite.core.certificates.trust_bundle import BadTrustError, TrustBundle
from mezite.core.certificates.x509_issue import certificate_pem
from mezite.testing.certificates import ThrowAwayCa
from tests.agent.test_identity_store import IDENTITY

NOW = 1_800_000_000
OLD, NEW = (certificate_pem(ThrowAwayCa(NOW).host_tls_ca).decode() for _ in range(2))
LINE = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFhyYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFiYWJhYmFi"


@pytest.fixture
def store(tmp_path: Path) -> IdentityStore:
    made = IdentityStore(tmp_path)
    made.save(attrs.evolve(IDENTITY, host_tls_ca_pem=(OLD,), user_ssh_ca=(LINE,)))
    return made


def test_what_is_adopted_is_stored(store: IdentityStore) -> None:
    before = store.load()
    assert before is not None
    adopted = adopt(store, before, host_tls_ca_pem=[OLD, NEW], user_ssh_ca=[LINE], now=NOW * 1000)
    assert adopted == attrs.evolve(before, host_tls_ca_pem=(OLD, NEW))
    assert store.load() == adopted
    bundle = TrustBundle(host_tls_ca_pem=(OLD, NEW), user_ssh_ca=(LINE,))
    assert key_ids_of(adopted) == sorted(bundle.key_ids)


def test_what_is_the_same_is_not_written_again(store: IdentityStore) -> None:
    before = store.load()
    assert before is not None
    file = store.folder / "host_ca.pem"
    written = file.stat().st_ino
    same = adopt(store, before, host_tls_ca_pem=[OLD], user_ssh_ca=[LINE], now=NOW * 1000)
    assert same == before
    assert file.stat().st_ino == written


@pytest.mark.parametrize(("hubs", "users"), [([], [LINE]), ([NEW], []), (["x"], [LINE]), ([NEW], ["x"])])
def test_nonsense_changes_nothing(store: IdentityStore, hubs: list[str], users: list[str]) -> None:
    before = store.load()
    assert before is not None
    with pytest.raises(BadTrustError):
        adopt(store, before, host_tls_ca_pem=hubs, user_ssh_ca=users, now=NOW * 1000)
    assert store.load() == before


def test_what_cannot_be_read_is_not_acknowledged() -> None:
    assert key_ids_of(IDENTITY) == []


CA = ThrowAwayCa(NOW)
HOST_CERTIFICATE = authorized_key_line(CA.host_certificate(CA.host_ssh.public_key(), "web-1"))
CERTIFIED = attrs.evolve(
    IDENTITY,
    tls_certificate_pem=CA.agent().certificate_pem.decode(),
    ssh_host_certificate=HOST_CERTIFICATE,
    host_tls_ca_pem=(NEW, certificate_pem(CA.host_tls_ca).decode()),
)
TLS_SIGNER = spki_sha256(CA.host_tls.public_key())
SSH_SIGNER = spki_sha256(CA.host_ssh.public_key())


@pytest.mark.parametrize(
    ("signing", "outdated"),
    [
        ([TLS_SIGNER, SSH_SIGNER], False),
        ([TLS_SIGNER, "0" * 64], True),
        (["0" * 64, SSH_SIGNER], True),
        ([], False),
    ],
)
def test_certificates_by_a_key_that_signs_no_more(signing: list[str], outdated: bool) -> None:
    assert is_outdated(CERTIFIED, signing) is outdated


@pytest.mark.parametrize(
    "damage",
    [
        {"tls_certificate_pem": "x"},
        {"ssh_host_certificate": "x"},
        {"ssh_host_certificate": LINE},
        {"host_tls_ca_pem": ("x",)},
    ],
)
def test_what_cannot_be_read_is_not_called_outdated(damage: dict[str, object]) -> None:
    assert not is_outdated(attrs.evolve(CERTIFIED, **damage), ["0" * 64])


async def test_news_is_heard_once(autojump_clock: trio.testing.MockClock) -> None:
    news = TrustNews()
    news.hear()
    news.hear()
    await news.wait()
    with trio.move_on_after(1) as waiting:
        await news.wait()
    assert waiting.cancelled_caught
