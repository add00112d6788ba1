# SPDX-License-Identifier: Apache-2.0
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from fuzz import fuzz_x509_identity
from mezite.core.certificates.identity import IdentityError, PeerKind
from mezite.core.certificates.keys import generate_p256, spki_sha256
from mezite.core.certificates.refusal import CertificateRefused, Reason
from mezite.core.certificates.x509_issue import CaPurpose, certificate_spki_sha256
from mezite.core.certificates.x509_verify import MAX_DER_BYTES, checked_addresses, pinned_ca, verify_x509
from mezite.testing.certificates import ThrowAwayCa
from mezite.testing.strategies.certificates import damaged
from tests.core.certificates.x509_matrix import (
    CLUSTER,
    MUTATIONS,
    NOW,
    build,
    ca,
    key,
    trusted,
    uri,
    usage,
)

CA = ThrowAwayCa(NOW)


def verify(der, *, kind=PeerKind.AGENT, cas=None, cluster=CLUSTER, now=NOW):
    return verify_x509(der, ca_certs=trusted() if cas is None else cas, cluster=cluster, kind=kind, now=now)


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_the_matrix_f4(mutation):
    der = mutation.build()
    if mutation.reason is None:
        peer = verify(der)
        assert (peer.kind, peer.name, peer.cluster) == (PeerKind.AGENT, "agent-1", CLUSTER)
        assert (peer.generation, peer.node_name) == (3, "web-1")
    else:
        with pytest.raises(CertificateRefused) as caught:
            verify(der)
        assert caught.value.reason is mutation.reason, caught.value.message
        assert caught.value.message.isprintable()


@pytest.mark.parametrize(
    ("mutation", "message"),
    [
        ("self-signed", "the certificate is not from a certificate authority trusted for this"),
        ("content changed", "the signature is wrong, or by an algorithm that is not accepted"),
        ("usage that is no usage", "the certificate is not well-formed DER"),
        (
            "no extended usage",
            "basic constraints, key usage, extended key usage or alternative name are missing",
        ),
        ("another scheme", "the identity is not of the form mezite://CLUSTER/KIND/NAME"),
        ("a mail address beside it", "the certificate has names of a type that is not allowed"),
        ("may sign lists", "the certificate is not one for a peer but for signing others"),
        ("node name not UTF-8", "an identity extension is not UTF-8"),
    ],
)
def test_a_refusal_says_what_is_wrong(mutation, message):
    (built,) = (each.build() for each in MUTATIONS if each.name == mutation)
    with pytest.raises(CertificateRefused) as caught:
        verify(built)
    assert caught.value.message == message


def test_a_certificate_of_the_largest_size_is_read():
    def signed(padding):
        padded = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.25.1"), bytes(padding)), False
        return build(signer="ca-ed25519", issuer="CA Ed25519", later=padded)

    fits = MAX_DER_BYTES - len(signed(10_000)) + 10_000
    assert len(signed(fits)) == MAX_DER_BYTES
    assert verify(signed(fits)).name == "agent-1"
    with pytest.raises(CertificateRefused, match=r"^a certificate of 16385 bytes is refused unread$"):
        verify(signed(fits + 1))


def test_there_are_enough_mutations():
    assert len(MUTATIONS) > 70
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)


def der(identity):
    return identity.certificate.public_bytes(Encoding.DER)


def test_what_the_verified_value_holds():
    identity = CA.agent("agent-7", "db-1", 12)
    peer = verify(der(identity), cas=[CA.host_tls_ca])
    assert peer.name == "agent-7"
    assert (peer.generation, peer.node_name) == (12, "db-1")
    assert (peer.roles, peer.traits) == ((), {})
    assert peer.serial == identity.certificate.serial_number
    assert (peer.not_before, peer.not_after) == (NOW - 300, NOW + 86_400)
    assert peer.spki_sha256 == spki_sha256(identity.key.public_key())


def test_hubs_and_users():
    hub = verify(
        der(CA.hub("hub-7", ("hub.example.com", "*.apps.example.com"))),
        kind=PeerKind.HUB,
        cas=[CA.host_tls_ca],
    )
    assert (hub.kind, hub.name, hub.generation, hub.node_name) == (PeerKind.HUB, "hub-7", None, None)
    user = verify(
        der(CA.user("alice@example.com", ("access", "auditor"))), kind=PeerKind.USER, cas=[CA.user_tls_ca]
    )
    assert (user.kind, user.name) == (PeerKind.USER, "alice@example.com")
    assert user.roles == ("access", "auditor")
    assert user.traits == {"logins": ("ubuntu",)}
    assert (user.request_ids, user.device_id, user.source_address) == ((), "", "")


def test_access_requests_and_device_of_a_user():
    identity = CA.user(request_ids=("request-2", "request-1"), device_id="device-1")
    user = verify(der(identity), kind=PeerKind.USER, cas=[CA.user_tls_ca])
    assert (user.request_ids, user.device_id) == (("request-1", "request-2"), "device-1")


def test_a_pinned_user():
    identity = CA.user(source_address="192.0.2.7,2001:db8::/32")
    user = verify(der(identity), kind=PeerKind.USER, cas=[CA.user_tls_ca])
    assert user.source_address == "192.0.2.7,2001:db8::/32"


def test_a_pin_that_cannot_be_read_is_no_pin_e9():
    with pytest.raises(IdentityError, match="not an IP address"):
        checked_addresses("192.0.2.07")
    assert checked_addresses(None) == ""


def test_nobody_is_somebody_else_a4_f4():
    """Each kind of peer against each kind that is asked for, with the CA of the one and of the other."""
    peers = {PeerKind.AGENT: CA.agent(), PeerKind.HUB: CA.hub(), PeerKind.USER: CA.user()}
    for kind, identity in peers.items():
        for wanted in PeerKind:
            for certificate in (CA.host_tls_ca, CA.user_tls_ca):
                right_ca = CA.user_tls_ca if kind is PeerKind.USER else CA.host_tls_ca
                if kind is wanted and certificate is right_ca:
                    assert verify(der(identity), kind=wanted, cas=[certificate]).kind is kind
                else:
                    with pytest.raises(CertificateRefused):
                        verify(der(identity), kind=wanted, cas=[certificate])


def test_both_cas_of_a_rotation_are_trusted_f5():
    old, new = ThrowAwayCa(NOW), ThrowAwayCa(NOW)
    cas = [old.host_tls_ca, new.host_tls_ca]
    assert verify(der(old.agent()), cas=cas)
    assert verify(der(new.agent()), cas=cas)
    with pytest.raises(CertificateRefused):
        verify(der(old.agent()), cas=cas[1:])


def test_two_cas_of_one_name_are_told_apart_by_the_signature():
    assert verify(build(), cas=[ca("x-p256"), ca()])


def test_no_ca_trusts_nobody():
    with pytest.raises(CertificateRefused) as caught:
        verify(build(), cas=[])
    assert caught.value.reason is Reason.UNTRUSTED_SIGNER


def test_the_window_is_half_open_and_the_message_tells_the_clock_f6():
    blob = build(before=NOW - 10, after=NOW + 9)
    assert verify(blob, now=NOW - 10)
    assert verify(blob, now=NOW + 9)
    with pytest.raises(
        CertificateRefused, match=r"agent certificate is not valid for another 110 s.*your clock is 410 s off"
    ):
        verify(blob, now=NOW - 120)
    with pytest.raises(CertificateRefused, match=r"agent certificate expired 590 s ago"):
        verify(blob, now=NOW + 600)


def basic(*, path_length, is_ca=True):
    return x509.BasicConstraints(ca=is_ca, path_length=path_length if is_ca else None), True


NO_CA = "the signer is not a certificate authority"
NO_FORM = "the CA certificate is malformed"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"basic": basic(path_length=None)}, NO_CA),
        ({"basic": basic(path_length=1)}, NO_CA),
        ({"basic": basic(path_length=0, is_ca=False)}, NO_CA),
        ({"basic": None}, NO_FORM),
        ({"usage": None}, NO_FORM),
        ({"usage": (usage("digital_signature"), True)}, NO_CA),
    ],
    ids=["no path length", "path length 1", "no CA", "no constraints", "no usage", "may not sign"],
)
def test_a_trusted_certificate_that_is_no_ca_signs_nothing(changes, message):
    with pytest.raises(CertificateRefused, match=f"^{message}$") as caught:
        verify(build(), cas=[ca(**changes)])
    assert caught.value.reason is Reason.UNTRUSTED_SIGNER


def test_an_expired_ca_signs_nothing_f5():
    with pytest.raises(CertificateRefused, match="the CA certificate expired"):
        verify(build(after=NOW + 10**9), now=NOW + 10**8 + 1)


def test_a_pinned_ca_is_found_in_a_bundle():
    other = ThrowAwayCa(NOW)
    rsa_ca = ca("ca-rsa", "CA RSA")
    bundle = [ca("ca-ed448", "CA Ed448"), other.host_tls_ca, rsa_ca, CA.host_tls_ca]
    assert pinned_ca(bundle, certificate_spki_sha256(CA.host_tls_ca), NOW) == CA.host_tls_ca
    with pytest.raises(
        CertificateRefused, match=r"^no certificate authority offered has the pinned key"
    ) as no:
        pinned_ca(bundle[:2], certificate_spki_sha256(CA.host_tls_ca), NOW)
    assert no.value.reason is Reason.UNTRUSTED_SIGNER


def test_a_ca_is_good_in_its_last_second_and_not_after_it():
    end = int(CA.host_tls_ca.not_valid_after_utc.timestamp())
    pin = certificate_spki_sha256(CA.host_tls_ca)
    assert pinned_ca([CA.host_tls_ca], pin, end) == CA.host_tls_ca
    with pytest.raises(CertificateRefused, match=r"^the CA certificate expired") as expired:
        pinned_ca([CA.host_tls_ca], pin, end + 1)
    assert expired.value.reason is Reason.EXPIRED


def test_a_pinned_key_with_a_certificate_of_others_is_refused():
    """The key of a CA is public: anyone can put it into a certificate, only its holder can sign that."""
    forged = x509.load_der_x509_certificate(
        build(
            signer="x-p256",
            holder="ca-p256",
            subject="CA",
            basic=basic(path_length=0),
            san=(uri("a:b"), False),
        )
    )
    pin = spki_sha256(key("ca-p256").public_key())
    with pytest.raises(
        CertificateRefused, match=r"^the pinned CA certificate is not signed by itself$"
    ) as caught:
        pinned_ca([forged], pin, NOW)
    assert caught.value.reason is Reason.BAD_SIGNATURE
    with pytest.raises(CertificateRefused, match="not valid for another"):
        pinned_ca([ca()], pin, NOW - 10_000)


def test_a_new_ca_of_the_same_cluster_has_another_name():
    assert CA.make_ca(generate_p256(), CaPurpose.HOST_TLS).subject != CA.host_tls_ca.subject


@given(damaged(fuzz_x509_identity.AGENT), st.sampled_from(PeerKind))
def test_any_damage_is_refused(blob, kind):
    with pytest.raises(CertificateRefused):
        verify_x509(
            blob, ca_certs=[fuzz_x509_identity.CA], cluster="test", kind=kind, now=fuzz_x509_identity.NOW
        )


@given(st.binary(max_size=80))
def test_fuzz_claim(data):
    fuzz_x509_identity.check(data)
