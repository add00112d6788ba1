# SPDX-License-Identifier: Apache-2.0
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mezite.core.certificates.identity import PeerKind
from mezite.core.certificates.keys import generate_ed25519, load_private_key, spki_sha256
from mezite.core.certificates.ssh_verify import verify_host_certificate, verify_user_certificate
from mezite.core.certificates.x509_verify import verify_x509
from mezite.testing.certificates import ThrowAwayCa

NOW = 1_800_000_000
KEY = generate_ed25519().public_key()


@pytest.fixture(scope="module")
def ca():
    return ThrowAwayCa(NOW, "prod")


def test_every_certificate_it_makes_verifies(ca):
    user = verify_user_certificate(
        ca.user_certificate(KEY, roles=("admin",)),
        trusted_cas=[ca.user_ssh_blob],
        login="ubuntu",
        source_address="",
        now=NOW,
    )
    assert (user.key_id, user.roles) == ("alice", ("admin",))
    host = verify_host_certificate(
        ca.host_certificate(KEY, "web-1", key_id="agent-1"),
        trusted_cas=[ca.host_ssh_blob],
        host_name="web-1",
        now=NOW,
    )
    assert host.key_id == "agent-1"


@pytest.mark.parametrize("kind", list(PeerKind))
def test_tls_identities_are_a_key_and_its_certificate(ca, kind):
    identity = {PeerKind.AGENT: ca.agent, PeerKind.HUB: ca.hub, PeerKind.USER: ca.user}[kind]()
    certificate = x509.load_pem_x509_certificate(identity.certificate_pem)
    der = certificate.public_bytes(Encoding.DER)
    issuer = ca.user_tls_ca if kind is PeerKind.USER else ca.host_tls_ca
    peer = verify_x509(der, ca_certs=[issuer], cluster="prod", kind=kind, now=NOW)
    assert peer.spki_sha256 == spki_sha256(load_private_key(identity.key_pem).public_key())


def test_serials_count_up(ca):
    assert ca.agent().certificate.serial_number < ca.agent().certificate.serial_number
