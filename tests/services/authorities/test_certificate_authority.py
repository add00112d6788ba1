# SPDX-License-Identifier: Apache-2.0
"""Four CAs, one for each purpose; what they issue passes the verifiers, and only those of its purpose (threat A4)."""

from itertools import product

import attrs
import pytest
import trio
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificates

from mezite.core.certificates.identity import PeerKind
from mezite.core.certificates.keys import InvalidKeyError, generate_ed25519, generate_p256
from mezite.core.certificates.refusal import CertificateRefused, Reason
from mezite.core.certificates.ssh import (
    parse_authorized_key_line,
    verify_host_certificate,
    verify_user_certificate,
)
from mezite.core.certificates.x509_issue import certificate_spki_sha256, load_certificates
from mezite.core.certificates.x509_verify import verify_x509
from mezite.core.secret import Secret
from mezite.services.authorities.certificate_authority import (
    CaPassphraseError,
    CertificateAuthorities,
    Purpose,
    UserCertificateRequest,
)
from mezite.storage import certificate_authorities as rows
from mezite.storage.database import Database
from tests.services.world import (
    CLUSTER,
    HOUR,
    SSH_PUBLIC_LINE,
    START,
    TLS_PUBLIC_PEM,
    Clock,
    certificate_der,
    fake_sources,
)

NOW = START // 1000
REQUEST = UserCertificateRequest(
    user_name="alice",
    roles=("access",),
    traits={"logins": ("ubuntu",)},
    principals=("ubuntu",),
    extensions=("permit-pty",),
    ssh_public_key=SSH_PUBLIC_LINE,
    tls_public_key_pem=TLS_PUBLIC_PEM,
    ttl_seconds=3600,
)


async def open_authorities(database, passphrase=None, start=0, cluster=CLUSTER):
    secret = None if passphrase is None else Secret(passphrase)
    sources = fake_sources(Clock(), start=start)
    return await CertificateAuthorities.open(database, cluster=cluster, passphrase=secret, sources=sources)


@pytest.fixture
async def database(tmp_path):
    async with await Database.open(tmp_path / "empty.db") as database:
        yield database


@pytest.fixture(scope="module")
def authorities(tmp_path_factory):
    """Opened once: they keep nothing of the database."""

    async def make():
        async with await Database.open(tmp_path_factory.mktemp("cas") / "cas.db") as database:
            return await open_authorities(database)

    return trio.run(make)


def issue_agent(authorities, **changes):
    wanted = {
        "tls_public_key_pem": TLS_PUBLIC_PEM,
        "ssh_public_key": SSH_PUBLIC_LINE,
        "agent_id": "agent-1",
        "node_name": "web-1",
        "generation": 3,
    }
    return authorities.issue_agent(**wanted | changes)


def issue_hub(authorities, names=("hub.example.com", "*.localhost"), addresses=("192.0.2.1", "::1")):
    return authorities.issue_hub(
        hub_id="hub-1", tls_key=generate_p256(), ssh_key=generate_ed25519(), names=names, addresses=addresses
    )


def fingerprints(authorities):
    return (
        authorities.host_pin,
        authorities.host_tls_ca_pem,
        authorities.user_tls_ca_pem,
        authorities.user_ssh_ca_lines,
        authorities.host_ssh_ca_lines,
    )


async def test_the_first_start_makes_all_and_the_next_finds_them(database):
    first = await open_authorities(database)
    stored = await database.read(rows.list_all)
    assert {row.purpose for row in stored} == {purpose.value for purpose in Purpose}
    assert fingerprints(await open_authorities(database, start=100)) == fingerprints(first)
    # Of assertions' keys there is one ahead at all times.
    assert len(await database.read(rows.list_all)) == len(Purpose) + 1


async def test_hubs_that_open_at_once_agree(database):
    opened = []

    async def open_one(number):
        opened.append(await open_authorities(database, start=number * 1000))

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(open_one, number)
    assert len({str(fingerprints(authorities)) for authorities in opened}) == 1


async def test_every_purpose_has_a_key_of_its_own(database):
    """Threat A4."""
    await open_authorities(database)
    assert len({row.public for row in await database.read(rows.list_all)}) == len(Purpose) + 1


async def test_with_a_passphrase_no_key_is_stored_in_the_clear(database):
    first = await open_authorities(database, "open sesame")
    for row in await database.read(rows.list_all):
        assert b"ENCRYPTED" in row.private
    assert fingerprints(await open_authorities(database, "open sesame")) == fingerprints(first)


@pytest.mark.parametrize(
    ("passphrase", "message"), [(None, "set ca_key_passphrase"), ("wrong", "cannot be opened")]
)
async def test_without_the_right_passphrase_nothing_opens(database, passphrase, message):
    await open_authorities(database, "open sesame")
    with pytest.raises(CaPassphraseError, match=message):
        await open_authorities(database, passphrase)


async def test_a_passphrase_set_later_leaves_open_keys_usable(database):
    first = await open_authorities(database)
    assert fingerprints(await open_authorities(database, "new")) == fingerprints(first)


async def test_no_key_is_shown(database):
    """Threat H6."""
    authorities = await open_authorities(database)
    assert "PRIVATE" not in repr(vars(authorities))


def test_the_pin_is_that_of_the_host_ca(authorities):
    (pem,) = authorities.host_tls_ca_pem
    (certificate,) = load_certificates(pem.encode())
    assert certificate_spki_sha256(certificate) == authorities.host_pin


def test_an_agents_certificates_pass_the_verifiers(authorities):
    issued = issue_agent(authorities)
    peer = authorities.verify_client(certificate_der(issued.tls_certificate_pem), now=START)
    assert (peer.kind, peer.name, peer.cluster) == (PeerKind.AGENT, "agent-1", CLUSTER)
    assert (peer.generation, peer.node_name) == (3, "web-1")
    assert peer.not_after * 1000 == issued.expires_at == START + 24 * HOUR
    assert peer.not_before == NOW - 300
    for name in ("web-1", f"web-1.{CLUSTER}"):
        host = verify_host(authorities, issued.ssh_host_certificate, name)
        assert host.key_id == "agent-1"
    with pytest.raises(CertificateRefused):
        verify_host(authorities, issued.ssh_host_certificate, "web-2")


def verify_host(authorities, line, name, cas=None):
    trusted = [parse_authorized_key_line(ca)[1] for ca in cas or authorities.host_ssh_ca_lines]
    return verify_host_certificate(
        parse_authorized_key_line(line)[1], trusted_cas=trusted, host_name=name, now=NOW
    )


def test_a_hubs_certificates_pass_the_verifiers(authorities):
    issued = issue_hub(authorities)
    leaf, ca = load_pem_x509_certificates(issued.tls_certificate_pem)
    assert certificate_spki_sha256(ca) == authorities.host_pin
    peer = authorities.verify_client(leaf.public_bytes(Encoding.DER), now=START)
    assert (peer.kind, peer.name) == (PeerKind.HUB, "hub-1")
    assert issued.expires_at == START + 24 * HOUR
    assert verify_host(authorities, issued.ssh_host_certificate, "hub.example.com").key_id == "hub-1"
    assert set(verify_host(authorities, issued.ssh_host_certificate, "192.0.2.1").principals) == {
        "hub.example.com",
        "192.0.2.1",
    }


def test_a_users_certificates_pass_the_verifiers(authorities):
    issued = authorities.issue_user(REQUEST)
    peer = authorities.verify_client(certificate_der(issued.tls_certificate_pem), now=START)
    assert (peer.kind, peer.name, peer.roles) == (PeerKind.USER, "alice", ("access",))
    assert peer.serial == issued.serial
    assert peer.not_after * 1000 == issued.expires_at == START + HOUR
    ssh = verify_user(authorities, issued.ssh_certificate)
    assert (ssh.key_id, ssh.serial, ssh.principals) == ("alice", issued.serial, ("ubuntu",))
    assert (ssh.roles, ssh.traits) == (("access",), {"logins": ("ubuntu",)})
    assert ssh.valid_before * 1000 == issued.expires_at
    assert issued.ssh_certificate.endswith(f" alice@{CLUSTER}")


def verify_user(authorities, line, cas=None):
    return verify_user_certificate(
        parse_authorized_key_line(line)[1],
        trusted_cas=cas or authorities.user_ssh_ca_blobs,
        login="ubuntu",
        source_address="192.0.2.7",
        now=NOW,
    )


def test_purposes_are_separate_in_ssh(authorities):
    """Threat A4: neither CA vouches for the other's kind, whoever is believed."""
    user, host = authorities.issue_user(REQUEST), issue_agent(authorities)
    every = [*authorities.user_ssh_ca_lines, *authorities.host_ssh_ca_lines]
    blobs = [parse_authorized_key_line(line)[1] for line in every]
    with pytest.raises(CertificateRefused) as refused:
        verify_user(authorities, user.ssh_certificate, blobs[1:])
    assert refused.value.reason is Reason.UNTRUSTED_SIGNER
    with pytest.raises(CertificateRefused) as refused:
        verify_host(authorities, host.ssh_host_certificate, "web-1", authorities.user_ssh_ca_lines)
    assert refused.value.reason is Reason.UNTRUSTED_SIGNER
    # Even who believes both CAs does not take the one for the other.
    with pytest.raises(CertificateRefused):
        verify_user(authorities, host.ssh_host_certificate, blobs)
    with pytest.raises(CertificateRefused):
        verify_host(authorities, user.ssh_certificate, "ubuntu", every)


def test_purposes_are_separate_in_tls(authorities):
    """Threat A4: every kind of certificate against every kind of peer and every CA; three of eighteen are good."""
    leaf = load_pem_x509_certificates(issue_hub(authorities).tls_certificate_pem)[0]
    issued = {
        PeerKind.AGENT: certificate_der(issue_agent(authorities).tls_certificate_pem),
        PeerKind.HUB: leaf.public_bytes(Encoding.DER),
        PeerKind.USER: certificate_der(authorities.issue_user(REQUEST).tls_certificate_pem),
    }
    cas = {"host": authorities.host_tls_ca_pem, "user": authorities.user_tls_ca_pem}
    good = []
    for (held, der), asked, ca in product(issued.items(), PeerKind, cas):
        trusted = load_certificates(cas[ca][0].encode())
        try:
            verify_x509(der, ca_certs=trusted, cluster=CLUSTER, kind=asked, now=NOW)
        except CertificateRefused:
            continue
        good.append((held, asked, ca))
    assert good == [
        (PeerKind.AGENT, PeerKind.AGENT, "host"),
        (PeerKind.HUB, PeerKind.HUB, "host"),
        (PeerKind.USER, PeerKind.USER, "user"),
    ]


@pytest.mark.parametrize(
    ("offset", "reason"), [(24 * HOUR, Reason.EXPIRED), (-301_000, Reason.NOT_YET_VALID)]
)
@pytest.mark.parametrize("kind", ["agent", "user"])
def test_the_refusal_is_about_the_kind_that_it_is(authorities, kind, offset, reason):
    """An expired user certificate is expired, not "signed by an unknown CA", which is what it is as an agent's."""
    if kind == "agent":
        pem = issue_agent(authorities).tls_certificate_pem
    else:
        pem = authorities.issue_user(attrs.evolve(REQUEST, ttl_seconds=86_400)).tls_certificate_pem
    with pytest.raises(CertificateRefused) as refused:
        authorities.verify_client(certificate_der(pem), now=START + offset)
    assert refused.value.reason is reason


def test_a_cas_certificate_is_no_clients(authorities):
    for pem in (*authorities.host_tls_ca_pem, *authorities.user_tls_ca_pem):
        with pytest.raises(CertificateRefused):
            authorities.verify_client(certificate_der(pem), now=START)


async def test_another_clusters_certificates_are_refused(world, tmp_path):
    async with await Database.open(tmp_path / "other.db") as database:
        for cluster in ("other", CLUSTER):
            other = await open_authorities(database, cluster=cluster)
            pem = issue_agent(other).tls_certificate_pem
            with pytest.raises(CertificateRefused):
                world.authorities.verify_client(certificate_der(pem), now=START)


@pytest.mark.parametrize(
    "key", ["", "nonsense", "ssh-ed25519", "ssh-ed25519 !!!", "ssh-rsa AAAAB3NzaC1yc2E="]
)
def test_damaged_ssh_keys(authorities, key):
    with pytest.raises(InvalidKeyError):
        authorities.issue_user(attrs.evolve(REQUEST, ssh_public_key=key))
    with pytest.raises(InvalidKeyError):
        issue_agent(authorities, ssh_public_key=key)


@pytest.mark.parametrize(
    "key", [b"", b"nonsense", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"]
)
def test_damaged_tls_keys(authorities, key):
    with pytest.raises(InvalidKeyError):
        authorities.issue_user(attrs.evolve(REQUEST, tls_public_key_pem=key))
    with pytest.raises(InvalidKeyError):
        issue_agent(authorities, tls_public_key_pem=key)


def test_serials_differ(authorities):
    """Two certificates of one CA with one serial could not be told apart in the audit log."""
    serials = {authorities.issue_user(REQUEST).serial for _ in range(20)}
    assert len(serials) == 20


def test_the_cas_outlive_a_clock_that_is_off(authorities):
    """Threat F6: ten years, begun a day ago."""
    for pem in (*authorities.host_tls_ca_pem, *authorities.user_tls_ca_pem):
        (certificate,) = load_certificates(pem.encode())
        lifetime = certificate.not_valid_after_utc - certificate.not_valid_before_utc
        assert round(lifetime.total_seconds() / 86_400) == 10 * 365
        assert certificate.not_valid_before_utc.timestamp() <= NOW - 86_400
