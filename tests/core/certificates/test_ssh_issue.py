# SPDX-License-Identifier: Apache-2.0
import attrs
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from mezite.core.certificates.keys import InvalidKeyError, generate_ed25519, generate_p256
from mezite.core.certificates.refusal import CertificateRefused
from mezite.core.certificates.ssh_certificate import MAX_CERTIFICATE_BYTES, parse_ssh_certificate
from mezite.core.certificates.ssh_issue import (
    NO_LOGIN_PRINCIPAL,
    HostCertificateSpec,
    UserCertificateSpec,
    issue_host_certificate,
    issue_user_certificate,
)
from mezite.core.certificates.ssh_public_key import public_key_blob
from mezite.core.certificates.ssh_verify import verify_host_certificate, verify_user_certificate

NOW = 1_800_000_000
CA = generate_ed25519()
KEY = generate_ed25519()
USER = UserCertificateSpec(
    serial=1,
    key_id="alice",
    principals=("ubuntu",),
    valid_after=NOW - 300,
    valid_before=NOW + 60,
    nonce=bytes(32),
)
HOST = HostCertificateSpec(
    serial=1,
    key_id="agent-1",
    principals=("web-1", "web-1.example.com"),
    valid_after=NOW - 300,
    valid_before=NOW + 60,
    nonce=bytes(32),
)


def verify(blob, ca=CA, login="ubuntu"):
    trusted = [public_key_blob(ca.public_key())]
    return verify_user_certificate(blob, trusted_cas=trusted, login=login, source_address="10.0.0.1", now=NOW)


@pytest.mark.parametrize("ca", [generate_ed25519(), generate_p256()], ids=["ed25519", "p256"])
@pytest.mark.parametrize(
    "key",
    [generate_ed25519(), generate_p256(), rsa.generate_private_key(65537, 2048)],
    ids=["ed25519", "p256", "rsa"],
)
def test_every_kind_of_ca_certifies_every_kind_of_key(ca, key):
    certificate = verify(issue_user_certificate(ca, key.public_key(), USER), ca)
    assert certificate.public_key_blob == public_key_blob(key.public_key())
    host = issue_host_certificate(ca, key.public_key(), HOST)
    trusted = [public_key_blob(ca.public_key())]
    assert verify_host_certificate(host, trusted_cas=trusted, host_name="web-1", now=NOW).serial == 1


def test_the_same_input_makes_the_same_certificate():
    assert issue_user_certificate(CA, KEY.public_key(), USER) == issue_user_certificate(
        CA, KEY.public_key(), USER
    )


def test_a_user_without_logins_gets_a_principal_that_no_account_has_a4():
    blob = issue_user_certificate(CA, KEY.public_key(), attrs.evolve(USER, principals=[NO_LOGIN_PRINCIPAL]))
    assert verify(blob, login=None).principals == (NO_LOGIN_PRINCIPAL,)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"key_id": "a b"}, "user name 'a b'"),
        ({"principals": ()}, "0 principals"),
        ({"principals": [f"u{n}" for n in range(257)]}, "257 principals"),
        ({"principals": ("a", "a")}, "listed twice"),
        ({"principals": ("*",)}, "login"),
        ({"principals": (NO_LOGIN_PRINCIPAL, "root")}, "login"),
        ({"extensions": ("permit-everything",)}, "unknown certificate options: permit-everything$"),
        ({"extensions": ("permit-y", "permit-x")}, "unknown certificate options: permit-x, permit-y$"),
        ({"critical_options": {"verify-required": ""}}, "unknown certificate options: verify-required"),
        ({"critical_options": {"source-address": "10.0.0.1/8"}}, "bits set beyond"),
        ({"critical_options": {"force-command": ""}}, "forced command"),
        ({"critical_options": {"force-command": "a\nb"}}, "forced command"),
        ({"roles": ("a", "a")}, "listed twice"),
        ({"traits": {"1": ()}}, "trait name"),
        ({"request_ids": ("a b",)}, "id 'a b'"),
        ({"device_id": "A"}, "id 'A'"),
        ({"nonce": b""}, "nonce has 0 bytes"),
        ({"nonce": bytes(65)}, "nonce has 65 bytes"),
        ({"valid_before": NOW - 300}, "end before it begins"),
        ({"valid_after": -1}, "end before it begins"),
        ({"valid_before": 2**64}, "end before it begins"),
        ({"serial": -1}, "64 bits"),
        ({"serial": 2**64}, "64 bits"),
        ({"traits": {"a": [f"{n:0>200}" for n in range(100)]}}, "too many traits"),
    ],
)
def test_nothing_is_issued_that_would_be_refused(changes, why):
    with pytest.raises(ValueError, match=why):
        issue_user_certificate(CA, KEY.public_key(), attrs.evolve(USER, **changes))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"principals": ("WEB",)}, "node name"),
        ({"principals": ("*.example.com",)}, "node name"),
        ({"principals": ("[::1]",)}, "not an IP address"),
        ({"principals": ("web-1:22",)}, "not an IP address"),
        ({"principals": ()}, "0 principals"),
        ({"key_id": "a\nb"}, "^the key id has control characters$"),
    ],
)
def test_nothing_is_issued_to_hosts_that_would_be_refused(changes, why):
    with pytest.raises(ValueError, match=why):
        issue_host_certificate(CA, KEY.public_key(), attrs.evolve(HOST, **changes))


def test_as_many_logins_as_openssh_allows():
    logins = [f"u{number}" for number in range(256)]
    blob = issue_user_certificate(CA, KEY.public_key(), attrs.evolve(USER, principals=logins))
    assert verify(blob, login="u255").principals == tuple(logins)


def test_the_largest_certificate():
    """What is issued with the last byte that fits is read again; one byte more is not issued."""

    def issue(length):
        spec = attrs.evolve(
            USER, traits={"a": ["x" * 210] * 60}, critical_options={"force-command": "x" * length}
        )
        return issue_user_certificate(CA, KEY.public_key(), spec)

    longest = MAX_CERTIFICATE_BYTES - len(issue(1)) + 1
    blob = issue(longest)
    assert len(blob) == MAX_CERTIFICATE_BYTES
    assert parse_ssh_certificate(blob).key_id == "alice"
    with pytest.raises(CertificateRefused, match="forced commands"):
        verify(blob)
    with pytest.raises(ValueError, match="16385 bytes: too many traits"):
        issue(longest + 1)


def test_weak_keys_are_not_certified_a9():
    with pytest.raises(InvalidKeyError, match="1024 bits"):
        issue_user_certificate(CA, rsa.generate_private_key(65537, 1024).public_key(), USER)


def test_hosts_are_also_dialled_by_address():
    names = ("127.0.0.1", "::1", "2001:db8::7", "hub.example.com")
    blob = issue_host_certificate(CA, KEY.public_key(), attrs.evolve(HOST, principals=names))
    trusted = [public_key_blob(CA.public_key())]
    for name in names:
        assert verify_host_certificate(blob, trusted_cas=trusted, host_name=name, now=NOW).principals == names
