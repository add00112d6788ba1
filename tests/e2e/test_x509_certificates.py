# SPDX-License-Identifier: Apache-2.0
"""Our verifier of X.509 identities against OpenSSL (threat F4): what we accept, `openssl verify` accepts;
and what we issue passes a mutual TLS 1.3 handshake of Python's ssl module, at both ends.
"""

import ssl
import subprocess
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from mezite.core.certificates.identity import PeerKind
from mezite.core.certificates.refusal import CertificateRefused
from mezite.core.certificates.x509_issue import certificate_pem
from mezite.core.certificates.x509_verify import verify_x509
from mezite.testing.certificates import ThrowAwayCa
from tests.core.certificates.x509_matrix import CLUSTER, MUTATIONS, NOW, trusted

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    path = tmp_path_factory.mktemp("x509") / "cas.pem"
    path.write_bytes(b"".join(certificate_pem(certificate) for certificate in trusted()))
    return path


def openssl_accepts(der: bytes, bundle) -> bool:
    path = bundle.with_name("peer.pem")
    try:
        path.write_bytes(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM))
    except ValueError:
        return False
    command = ["openssl", "verify", "-purpose", "sslclient", "-attime", str(NOW), "-CAfile", bundle, path]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def we_accept(der: bytes) -> bool:
    try:
        verify_x509(der, ca_certs=trusted(), cluster=CLUSTER, kind=PeerKind.AGENT, now=NOW)
    except CertificateRefused:
        return False
    return True


STRANGE_SERIALS = {"serial 0", "serial negative"}
"""The library that turns them into PEM for OpenSSL warns about them, and warnings are errors here."""


@pytest.mark.parametrize(
    "mutation",
    [mutation for mutation in MUTATIONS if mutation.name not in STRANGE_SERIALS],
    ids=lambda mutation: mutation.name,
)
def test_what_we_accept_openssl_accepts_f4(mutation, bundle):
    der = mutation.build()
    assert we_accept(der) == (mutation.reason is None)
    if mutation.reason is None:
        assert openssl_accepts(der, bundle)


def test_openssl_refuses_what_its_rules_refuse(bundle):
    """The oracle is awake: bad signatures, strangers and windows are refused by both."""
    names = {
        "CA of others, our CA's name",
        "content changed",
        "expired",
        "not yet valid",
        "for servers",
        "signed by an end certificate",
        "unknown critical extension",
    }
    for mutation in MUTATIONS:
        if mutation.name in names:
            assert not openssl_accepts(mutation.build(), bundle), mutation.name


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> tuple[bytes, bytes]:
    """Both peers' certificates in DER, the client's first; raises what either side raises."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        server.wrap_bio(to_server, to_client, server_side=True),
        client.wrap_bio(to_client, to_server, server_hostname=name),
    ]
    for _ in range(4):
        for end in ends:
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return ends[0].getpeercert(binary_form=True), ends[1].getpeercert(binary_form=True)


def context(purpose, identity, ca: x509.Certificate, directory) -> ssl.SSLContext:
    made = ssl.SSLContext(purpose)
    made.minimum_version = ssl.TLSVersion.TLSv1_3
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_verify_locations(cadata=certificate_pem(ca).decode())
    path = directory / "identity.pem"
    path.write_bytes(identity.key_pem + identity.certificate_pem)
    made.load_cert_chain(path)
    return made


@pytest.mark.parametrize("kind", list(PeerKind))
def test_what_we_issue_passes_mutual_tls(kind, tmp_path):
    now = int(time.time())
    ca = ThrowAwayCa(now)
    identity = {PeerKind.AGENT: ca.agent, PeerKind.HUB: ca.hub, PeerKind.USER: ca.user}[kind]()
    issuer = ca.user_tls_ca if kind is PeerKind.USER else ca.host_tls_ca
    server = context(ssl.PROTOCOL_TLS_SERVER, ca.hub(), issuer, tmp_path)
    client = context(ssl.PROTOCOL_TLS_CLIENT, identity, ca.host_tls_ca, tmp_path)
    client_der, hub_der = shake_hands(server, client, "localhost")
    peer = verify_x509(client_der, ca_certs=[issuer], cluster="test", kind=kind, now=now)
    assert peer.kind is kind
    hub = verify_x509(hub_der, ca_certs=[ca.host_tls_ca], cluster="test", kind=PeerKind.HUB, now=now)
    assert hub.name == "hub-1"


def test_an_agent_cannot_serve_tls(tmp_path):
    """Its extended usage is for clients only, and OpenSSL minds."""
    ca = ThrowAwayCa(int(time.time()))
    server = context(ssl.PROTOCOL_TLS_SERVER, ca.agent(), ca.host_tls_ca, tmp_path)
    client = context(ssl.PROTOCOL_TLS_CLIENT, ca.agent(), ca.host_tls_ca, tmp_path)
    client.check_hostname = False
    with pytest.raises(ssl.SSLCertVerificationError, match="purpose"):
        shake_hands(server, client, "localhost")
