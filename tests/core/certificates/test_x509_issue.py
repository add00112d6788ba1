# SPDX-License-Identifier: Apache-2.0
import base64

import attrs
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from mezite.core.certificates.keys import InvalidKeyError, generate_ed25519, generate_p256, spki_sha256
from mezite.core.certificates.validity import Validity
from mezite.core.certificates.x509_extensions import DEVICE, REQUESTS, SOURCE_ADDRESS
from mezite.core.certificates.x509_issue import (
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
        (issue_agent_certificate, attrs.evolve(AGENT, serial=0), "serial"),
        (issue_agent_certificate, attrs.evolve(AGENT, serial=1 << 159), "serial"),
        (issue_agent_certificate, attrs.evolve(AGENT, validity=Validity(5, 5)), "end before it begins"),
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
    with pytest.raises(ValueError, match="not of the CA key"):
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
        (b"", "damaged"),
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


def test_bundles():
    other = issue_agent_certificate(CA, CA_KEY, KEY.public_key(), AGENT)
    assert load_certificates(certificate_pem(CA) + certificate_pem(other)) == (CA, other)
    for pem in (b"", b"nonsense"):
        with pytest.raises(ValueError, match="PEM"):
            load_certificates(pem)
    with pytest.raises(ValueError, match="too long"):
        load_certificates(certificate_pem(CA) * 1000)
