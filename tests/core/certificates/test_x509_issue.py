# SPDX-License-Identifier: Apache-2.0
import base64
import re
import subprocess
import time

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from mezite.core.certificates.keys import InvalidKeyError, generate_ed25519, generate_p256, spki_sha256
from mezite.core.certificates.trust_bundle import BadTrustError, key_id_of_certificate
from mezite.core.certificates.validity import Validity
from mezite.core.certificates.x509_extensions import DEVICE, REQUESTS, SOURCE_ADDRESS
from mezite.core.certificates.x509_issue import (
    MAX_CSR_BYTES,
    MAX_PEM_BYTES,
    AgentCertificateSpec,
    CaPurpose,
    HubCertificateSpec,
    UserX509Spec,
    certificate_pem,
    certificate_spki_sha256,
    issue_agent_certificate,
    issue_ca_certificate,
    issue_hub_certificate,
    issue_user_certificate_x509,
    load_certificates,
    public_key_from_csr,
)

NOW = 1_800_000_000
P256_OID = bytes.fromhex("2a8648ce3d030107")
WINDOW = Validity.starting(NOW, 3600)
CA_KEY = generate_p256()
CA = issue_ca_certificate(CA_KEY, cluster="test", purpose=CaPurpose.HOST_TLS, serial=1, validity=WINDOW)
KEY = generate_p256()
AGENT = AgentCertificateSpec(
    cluster="test", agent_id="agent-1", node_name="web-1", generation=1, serial=2, validity=WINDOW
)
HUB = HubCertificateSpec(
    cluster="test",
    hub_id="hub-1",
    host_names=("hub.example.com", "*.apps.example.com"),
    addresses=("192.0.2.1", "::1"),
    serial=3,
    validity=WINDOW,
)
USER = UserX509Spec(cluster="test", user_name="alice", serial=4, validity=WINDOW)


def openssl(*arguments, certificate=None):
    pem = None if certificate is None else certificate_pem(certificate)
    return subprocess.run(["openssl", *arguments], input=pem, capture_output=True, check=True).stdout.decode()


def standard_extensions(certificate):
    """What OpenSSL reads: names with their criticality, and values."""
    text = openssl("x509", "-noout", "-text", certificate=certificate)
    found = re.findall(r"^ {12}X509v3 ([A-Z].*): (critical)?\n {16}(.*)$", text, re.MULTILINE)
    return {(name, bool(critical)): value for name, critical, value in found}


@pytest.mark.e2e
def test_openssl_reads_the_usages_that_are_meant():
    ca_id = x509.SubjectKeyIdentifier.from_public_key(CA_KEY.public_key()).digest.hex(":").upper()
    key_id = x509.SubjectKeyIdentifier.from_public_key(KEY.public_key()).digest.hex(":").upper()
    authority = issue_ca_certificate(
        CA_KEY, cluster="test", purpose=CaPurpose.HOST_TLS, serial=1, validity=WINDOW
    )
    assert standard_extensions(authority) == {
        ("Basic Constraints", True): "CA:TRUE, pathlen:0",
        ("Key Usage", True): "Certificate Sign, CRL Sign",
        ("Subject Key Identifier", False): ca_id,
    }
    agent = issue_agent_certificate(CA, CA_KEY, KEY.public_key(), AGENT)
    assert standard_extensions(agent) == {
        ("Basic Constraints", True): "CA:FALSE",
        ("Key Usage", True): "Digital Signature",
        ("Extended Key Usage", False): "TLS Web Client Authentication",
        ("Subject Alternative Name", False): "URI:mezite://test/agent/agent-1",
        ("Authority Key Identifier", False): ca_id,
        ("Subject Key Identifier", False): key_id,
    }


@pytest.mark.e2e
def test_openssl_verifies_what_is_issued(tmp_path):
    """Strictly, for the use that is meant and for no other."""
    (tmp_path / "ca.pem").write_bytes(certificate_pem(CA))
    (tmp_path / "hub.pem").write_bytes(
        certificate_pem(issue_hub_certificate(CA, CA_KEY, KEY.public_key(), HUB))
    )
    (tmp_path / "agent.pem").write_bytes(
        certificate_pem(issue_agent_certificate(CA, CA_KEY, KEY.public_key(), AGENT))
    )
    command = ("verify", "-x509_strict", "-attime", str(NOW), "-CAfile", tmp_path / "ca.pem")
    assert openssl(*command, "-purpose", "sslserver", tmp_path / "hub.pem").endswith("OK\n")
    assert openssl(*command, "-purpose", "sslclient", tmp_path / "agent.pem").endswith("OK\n")
    with pytest.raises(subprocess.CalledProcessError):
        openssl(*command, "-purpose", "sslserver", tmp_path / "agent.pem")


@pytest.mark.parametrize("zone", ["UTC+5", "UTC-9"])
def test_windows_are_the_same_in_every_time_zone(zone, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        made = issue_agent_certificate(CA, CA_KEY, KEY.public_key(), AGENT)
    time.tzset()
    assert made.not_valid_before_utc.timestamp() == NOW - 300
    assert made.not_valid_after_utc.timestamp() == NOW + 3599


def test_as_many_renewals_as_are_promised():
    last = attrs.evolve(AGENT, generation=10**10 - 1)
    assert issue_agent_certificate(CA, CA_KEY, KEY.public_key(), last)


def extension(certificate, kind):
    return certificate.extensions.get_extension_for_class(kind)


@pytest.mark.parametrize("key", [generate_p256(), generate_ed25519()], ids=["p256", "ed25519"])
def test_a_ca(key):
    made = issue_ca_certificate(key, cluster="test", purpose=CaPurpose.USER_TLS, serial=9, validity=WINDOW)
    made.verify_directly_issued_by(made)
    basic = extension(made, x509.BasicConstraints)
    assert basic.critical
    assert (basic.value.ca, basic.value.path_length) == (True, 0)
    usage = extension(made, x509.KeyUsage)
    assert usage.critical
    assert usage.value.key_cert_sign
    assert not usage.value.digital_signature
    pin = spki_sha256(key.public_key())
    assert made.subject.rfc4514_string() == f"CN=user-tls CA {pin[:16]},O=test"
    assert certificate_spki_sha256(made) == pin


def test_an_agent():
    made = issue_agent_certificate(CA, CA_KEY, KEY.public_key(), AGENT)
    made.verify_directly_issued_by(CA)
    names = extension(made, x509.SubjectAlternativeName).value
    assert [name.value for name in names] == ["mezite://test/agent/agent-1"]
    assert [oid._name for oid in extension(made, x509.ExtendedKeyUsage).value] == ["clientAuth"]
    assert made.not_valid_before_utc.timestamp() == NOW - 300
    assert made.not_valid_after_utc.timestamp() == NOW + 3599
    assert made.serial_number == 2


def test_a_hub_has_the_names_that_clients_dial():
    made = issue_hub_certificate(CA, CA_KEY, KEY.public_key(), HUB)
    names = extension(made, x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["hub.example.com", "*.apps.example.com"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.1", "::1"]
    assert [oid._name for oid in extension(made, x509.ExtendedKeyUsage).value] == ["serverAuth", "clientAuth"]


def test_long_names_are_cut_in_the_subject_only():
    name = "a" * 128
    made = issue_user_certificate_x509(CA, CA_KEY, KEY.public_key(), attrs.evolve(USER, user_name=name))
    assert made.subject.rfc4514_string() == f"CN={'a' * 64},O=test"
    assert [entry.value for entry in extension(made, x509.SubjectAlternativeName).value] == [
        f"mezite://test/user/{name}"
    ]
    cluster = f"{'c' * 40}.{'d' * 40}"
    made = issue_agent_certificate(CA, CA_KEY, KEY.public_key(), attrs.evolve(AGENT, cluster=cluster))
    assert made.subject.rfc4514_string() == f"CN=agent-1,O={cluster[:64]}"
    assert [entry.value for entry in extension(made, x509.SubjectAlternativeName).value] == [
        f"mezite://{cluster}/agent/agent-1"
    ]


def test_an_ed25519_ca_signs_too():
    key = generate_ed25519()
    authority = issue_ca_certificate(
        key, cluster="test", purpose=CaPurpose.HOST_TLS, serial=1, validity=WINDOW
    )
    issue_agent_certificate(authority, key, KEY.public_key(), AGENT).verify_directly_issued_by(authority)


@pytest.mark.parametrize(
    ("issue", "spec", "why"),
    [
        (issue_agent_certificate, attrs.evolve(AGENT, generation=0), "generation 0"),
        (issue_agent_certificate, attrs.evolve(AGENT, generation=10**10), "generation 10000000000"),
        (issue_agent_certificate, attrs.evolve(AGENT, node_name="WEB"), "node name"),
        (issue_agent_certificate, attrs.evolve(AGENT, agent_id="A"), "id 'A'"),
        (issue_agent_certificate, attrs.evolve(AGENT, cluster="T"), "cluster name"),
        (issue_agent_certificate, attrs.evolve(AGENT, serial=0), "^an X.509 serial is positive"),
        (issue_agent_certificate, attrs.evolve(AGENT, serial=1 << 159), "^an X.509 serial is positive"),
        (
            issue_agent_certificate,
            attrs.evolve(AGENT, validity=Validity(5, 5)),
            "would end before it begins$",
        ),
        (issue_hub_certificate, attrs.evolve(HUB, addresses=("x",)), "IPv4 or IPv6"),
        (issue_hub_certificate, attrs.evolve(HUB, host_names=("é",)), "A-label"),
        (issue_user_certificate_x509, attrs.evolve(USER, user_name="a/b"), "user name"),
        (issue_user_certificate_x509, attrs.evolve(USER, roles=("A",)), "role name"),
        (issue_user_certificate_x509, attrs.evolve(USER, request_ids=("a/b",)), "id 'a/b'"),
        (issue_user_certificate_x509, attrs.evolve(USER, device_id="a/b"), "id 'a/b'"),
        (issue_user_certificate_x509, attrs.evolve(USER, source_address="192.0.2.07"), "not an IP address"),
    ],
)
def test_nothing_is_issued_that_would_be_refused(issue, spec, why):
    with pytest.raises(ValueError, match=why):
        issue(CA, CA_KEY, KEY.public_key(), spec)


def test_what_binds_a_user_stands_in_the_certificate():
    spec = attrs.evolve(USER, device_id="laptop-1", request_ids=("r-1", "r-2"), source_address="192.0.2.0/24")
    certificate = issue_user_certificate_x509(CA, CA_KEY, KEY.public_key(), spec)
    found = {
        each.oid: each.value.value
        for each in certificate.extensions
        if isinstance(each.value, x509.UnrecognizedExtension)
    }
    assert b"laptop-1" in found[DEVICE]
    assert b"r-1" in found[REQUESTS]
    assert b"192.0.2.0/24" in found[SOURCE_ADDRESS]


def test_only_keys_for_tls_are_certified():
    for key in (rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())):
        with pytest.raises(InvalidKeyError, match="P-256 or Ed25519"):
            issue_agent_certificate(CA, CA_KEY, key.public_key(), AGENT)


def test_key_and_certificate_of_the_ca_belong_together():
    with pytest.raises(ValueError, match=r"^the CA certificate is not of the CA key$"):
        issue_agent_certificate(CA, generate_p256(), KEY.public_key(), AGENT)


def request_pem(key, digest=None):
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, digest).public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(("key", "digest"), [(generate_p256(), hashes.SHA256()), (generate_ed25519(), None)])
def test_a_signing_request_gives_its_key(key, digest):
    assert spki_sha256(public_key_from_csr(request_pem(key, digest))) == spki_sha256(key.public_key())


def forged_request():
    pem = request_pem(KEY, hashes.SHA256())
    request = x509.load_pem_x509_csr(pem)
    der = bytearray(request.public_bytes(serialization.Encoding.DER))
    der[-1] ^= 1
    body = base64.encodebytes(bytes(der))
    return b"-----BEGIN CERTIFICATE REQUEST-----\n" + body + b"-----END CERTIFICATE REQUEST-----\n"


@pytest.mark.parametrize(
    ("pem", "why"),
    [
        (b"", "^the signing request is damaged$"),
        (b"-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n", "damaged"),
        (request_pem(rsa.generate_private_key(65537, 2048), hashes.SHA256()), "P-256 or Ed25519"),
        (forged_request(), "not signed by its own key"),
        (b"x" * 20_000, "too long"),
    ],
    ids=["empty", "damaged", "RSA", "forged", "long"],
)
def test_other_requests_are_refused(pem, why):
    with pytest.raises(InvalidKeyError, match=why):
        public_key_from_csr(pem)


@pytest.mark.parametrize(
    ("known", "unknown"),
    [(b"\x2a\x86\x48\xce\x3d\x02\x01", b"\x2a\x86\x48\xce\x3d\x02\x7f"), (P256_OID, P256_OID[:-1] + b"\x7f")],
    ids=["another kind", "another curve"],
)
def test_a_key_that_nobody_knows_has_no_pin(known, unknown):
    """Whoever offers a CA may have invented its key: no reason for the one who looks at it to fall over."""
    der = CA.public_bytes(serialization.Encoding.DER)
    strange = x509.load_der_x509_certificate(der.replace(known, unknown))
    with pytest.raises(InvalidKeyError, match=r"^the certified key is damaged or of an unknown kind$"):
        certificate_spki_sha256(strange)
    with pytest.raises(BadTrustError, match=r"^this is not one certificate in PEM$"):
        key_id_of_certificate(certificate_pem(strange).decode())


def test_what_has_the_largest_size_is_read():
    request = request_pem(KEY, hashes.SHA256()).ljust(MAX_CSR_BYTES, b"\n")
    assert public_key_from_csr(request) == KEY.public_key()
    bundle = certificate_pem(CA).ljust(MAX_PEM_BYTES, b"\n")
    assert load_certificates(bundle) == (CA,)
    with pytest.raises(InvalidKeyError, match="of 16385 bytes is too long"):
        public_key_from_csr(request + b"\n")
    with pytest.raises(ValueError, match="of 262145 bytes is too long"):
        load_certificates(bundle + b"\n")


def test_bundles():
    other = issue_agent_certificate(CA, CA_KEY, KEY.public_key(), AGENT)
    assert load_certificates(certificate_pem(CA) + certificate_pem(other)) == (CA, other)
    for pem in (b"", b"nonsense"):
        with pytest.raises(ValueError, match="PEM"):
            load_certificates(pem)
    with pytest.raises(ValueError, match="too long"):
        load_certificates(certificate_pem(CA) * 1000)
