# SPDX-License-Identifier: Apache-2.0
"""What an agent takes for a set of CAs, and how it names it."""

import pytest

from mezite.core.certificates.keys import generate_ed25519, generate_p256, spki_sha256
from mezite.core.certificates.ssh_public_key import authorized_key_line, public_key_blob
from mezite.core.certificates.trust_bundle import (
    MOST_CAS,
    BadTrustError,
    TrustBundle,
    ca_certificate,
    digest_of_keys,
    key_id_of_certificate,
    key_id_of_line,
)
from mezite.core.certificates.validity import Validity
from mezite.core.certificates.x509_issue import (
    AgentCertificateSpec,
    CaPurpose,
    certificate_pem,
    issue_agent_certificate,
    issue_ca_certificate,
)

NOW = 1_800_000_000


def ca(key=None, lifetime=1000):
    key = key or generate_p256()
    certificate = issue_ca_certificate(
        key,
        cluster="test",
        purpose=CaPurpose.HOST_TLS,
        serial=1,
        validity=Validity(NOW - 100, NOW + lifetime),
    )
    return key, certificate


def pem(certificate):
    return certificate_pem(certificate).decode()


def line(key):
    return authorized_key_line(public_key_blob(key.public_key()), "user-ssh@test")


TLS_KEY, CA = ca()
SSH_KEY = generate_ed25519()
LINE = line(SSH_KEY)


def leaf():
    spec = AgentCertificateSpec(
        cluster="test",
        agent_id="agent-1",
        node_name="web-1",
        generation=1,
        serial=2,
        validity=Validity(NOW - 100, NOW + 100),
    )
    return pem(issue_agent_certificate(CA, TLS_KEY, generate_p256().public_key(), spec))


def test_keys_are_known_by_their_pins():
    bundle = TrustBundle.offered([pem(CA)], [LINE], now=NOW)
    assert bundle.key_ids == {spki_sha256(TLS_KEY.public_key()), spki_sha256(SSH_KEY.public_key())}
    assert bundle.digest == digest_of_keys(bundle.key_ids)
    assert (bundle.host_tls_ca_pem, bundle.user_ssh_ca) == ((pem(CA),), (LINE,))


def test_the_digest_is_of_the_set():
    assert digest_of_keys(["b", "a", "b"]) == digest_of_keys(["a", "b"]) != digest_of_keys(["a"])
    assert digest_of_keys(["ab"]) != digest_of_keys(["a", "b"])
    assert len(digest_of_keys([])) == 64


def test_neither_nobody_nor_everybody_is_trusted():
    """Threat F2."""
    for hosts, users, why in (
        ([], [LINE], "0 CAs of hubs are"),
        ([pem(CA)], [], "0 CAs of users are"),
        ([pem(CA)] * (MOST_CAS + 1), [LINE], "17 CAs of hubs are"),
    ):
        with pytest.raises(BadTrustError, match=f"^{why} not between 1 and 16$"):
            TrustBundle.offered(hosts, users, now=NOW)
    assert TrustBundle.offered([pem(CA)] * MOST_CAS, [LINE], now=NOW).key_ids


def test_the_digest_is_one_that_older_agents_compute_too():
    """As `printf 'a\\nb' | sha256sum` says; whoever acknowledges a bundle may run another release."""
    known = "7e18f737311b2dc3b2f269dd78396b0351f14fb66efa879f768cb23181883c78"
    assert digest_of_keys(["b", "a", "b"]) == known


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "^this is not one CA certificate in PEM$"),
        ("nonsense", "^this is not one CA certificate in PEM$"),
        (pem(CA) + pem(ca()[1]), "^this is not one CA certificate in PEM$"),
        (leaf(), "not a certificate authority"),
        (pem(ca(lifetime=-1)[1]), "expired"),
    ],
)
def test_what_is_no_ca_is_refused(text, message):
    with pytest.raises(BadTrustError, match=message):
        TrustBundle.offered([pem(CA), text], [LINE], now=NOW)
    with pytest.raises(BadTrustError):
        ca_certificate(text, NOW)


@pytest.mark.parametrize("text", ["", "nonsense", "ssh-ed25519 AAAA", "ssh-rsa AAAAB3NzaC1yc2E="])
def test_what_is_no_ssh_key_is_refused(text):
    with pytest.raises(BadTrustError, match=r"^this is not an OpenSSH public key$"):
        TrustBundle.offered([pem(CA)], [LINE, text], now=NOW)
    with pytest.raises(BadTrustError):
        key_id_of_line(text)


@pytest.mark.parametrize("text", ["", "nonsense", pem(CA) * 2])
def test_a_damaged_certificate_has_no_id(text):
    with pytest.raises(BadTrustError, match=r"^this is not one certificate in PEM$"):
        key_id_of_certificate(text)
    with pytest.raises(BadTrustError):
        _ = TrustBundle(host_tls_ca_pem=(text,), user_ssh_ca=()).digest
