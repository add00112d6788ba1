# SPDX-License-Identifier: Apache-2.0
"""From an older CA to the present one, and nowhere else."""

import base64
import hashlib
import json

import attrs
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from mezite.core.certificates.continuation import (
    CONTEXT,
    MAX_DOCUMENT,
    MOST_DOCUMENTS,
    MOST_SIGNATURES,
    ClusterTrust,
    SignedTrust,
    follow,
    sign_trust,
    trust_document,
    verifies,
)
from mezite.core.certificates.keys import generate_ed25519, generate_p256, spki_sha256
from mezite.core.certificates.ssh_public_key import authorized_key_line, public_key_blob
from mezite.core.certificates.trust_bundle import BadTrustError
from mezite.core.certificates.validity import Validity
from mezite.core.certificates.x509_issue import CaPurpose, certificate_pem, issue_ca_certificate

NOW = 1_800_000_000
SSH = authorized_key_line(public_key_blob(generate_ed25519().public_key()))


@attrs.frozen
class Ca:
    key: object
    certificate: object

    @property
    def pin(self):
        return spki_sha256(self.key.public_key())


def make_ca(key=None):
    key = key or generate_p256()
    certificate = issue_ca_certificate(
        key, cluster="test", purpose=CaPurpose.HOST_TLS, serial=1, validity=Validity(NOW - 100, NOW + 10_000)
    )
    return Ca(key, certificate)


A, B, C, EVIL = make_ca(), make_ca(), make_ca(generate_ed25519()), make_ca()


def trust(*cas, cluster="test"):
    return ClusterTrust(
        cluster=cluster,
        host_tls_ca_pem=tuple(certificate_pem(ca.certificate).decode() for ca in cas),
        host_ssh_ca=(SSH,),
    )


def signed(what, *signers, expires_at=NOW + 60):
    document = trust_document(what, expires_at=expires_at)
    return SignedTrust(document=document, signatures={ca.pin: sign_trust(document, ca.key) for ca in signers})


PRESENT = signed(trust(B, C), B, C)
LAST_OF_A = signed(trust(B), A, expires_at=None)


@pytest.mark.parametrize("ca", [B, C])
def test_who_knows_one_of_them_learns_of_all(ca):
    assert follow([ca.pin], [PRESENT], now=NOW) == trust(B, C)


def test_who_knows_one_that_is_gone_is_led_on():
    for offered in ([PRESENT, LAST_OF_A], [LAST_OF_A, PRESENT]):
        assert follow([A.pin], offered, now=NOW) == trust(B, C)


def test_a_chain_of_several():
    last_of_b = signed(trust(C), B, expires_at=None)
    present = signed(trust(C), C)
    assert follow([A.pin], [present, last_of_b, LAST_OF_A], now=NOW) == trust(C)
    # Where the present list is missing, the last one that leads anywhere counts: no worse than what was known.
    assert follow([A.pin], [last_of_b, LAST_OF_A], now=NOW) == trust(C)


def test_strangers_lead_nowhere():
    forged = signed(trust(EVIL), EVIL)
    for offered in ([], [forged], [attrs.evolve(forged, signatures={A.pin: forged.signatures[EVIL.pin]})]):
        with pytest.raises(BadTrustError, match="nothing that is offered"):
            follow([A.pin], offered, now=NOW)
    with pytest.raises(BadTrustError):
        follow([], [PRESENT], now=NOW)
    assert follow([A.pin, B.pin], [forged, PRESENT], now=NOW) == trust(B, C)


def test_a_list_of_before_a_rotation_does_not_come_back():
    """Who trusts B must not be made to trust A again by what B signed when both were trusted."""
    before = signed(trust(A, B), A, B, expires_at=NOW)
    with pytest.raises(BadTrustError):
        follow([B.pin], [before], now=NOW)
    assert follow([B.pin], [before], now=NOW - 1) == trust(A, B)


def test_every_byte_is_signed():
    changed = attrs.evolve(PRESENT, document=PRESENT.document.replace('"test"', '"tesT"'))
    for damaged in (changed, attrs.evolve(PRESENT, document=PRESENT.document + " ")):
        with pytest.raises(BadTrustError, match="nothing that is offered"):
            follow([B.pin], [damaged], now=NOW)


def bare_key(ca):
    return PRESENT.signatures[ca.pin].partition(".")[0]


@pytest.mark.parametrize("text", ["", "!", "AAAA", base64.b64encode(b"x" * 64).decode(), "\ud800"])
@pytest.mark.parametrize("ca", [B, C])
@pytest.mark.parametrize("with_key", [True, False])
def test_damaged_signatures(ca, text, with_key):
    text = f"{bare_key(ca)}.{text}" if with_key else text
    with pytest.raises(BadTrustError, match="nothing that is offered"):
        follow([ca.pin], [attrs.evolve(PRESENT, signatures={ca.pin: text})], now=NOW)


def test_a_signature_over_something_else_is_none():
    """The name in front of the signed bytes: a bare signature of the same text does not count."""
    bare = B.key.sign(PRESENT.document.encode(), ec.ECDSA(hashes.SHA256()))
    offered = attrs.evolve(PRESENT, signatures={B.pin: f"{bare_key(B)}.{base64.b64encode(bare).decode()}"})
    with pytest.raises(BadTrustError):
        follow([B.pin], [offered], now=NOW)
    # DER begins with 0x30: nothing that a certificate's signature covers can begin like this.
    assert CONTEXT[0] != 0x30


def test_the_signed_text_is_compact():
    """It is kept and sent for years: what is signed by one release is read by another."""
    value = ClusterTrust(cluster="c", host_tls_ca_pem=("P", "Q"), host_ssh_ca=("S",))
    fields = '"host_ssh_ca":["S"],"host_tls_ca_pem":["P","Q"]'
    assert trust_document(value, expires_at=5) == '{"cluster":"c","expires_at":5,' + fields + "}"
    assert trust_document(value, expires_at=None) == '{"cluster":"c","expires_at":null,' + fields + "}"


def document(**changes):
    values = json.loads(trust_document(trust(B), expires_at=NOW + 60)) | changes
    return json.dumps({name: value for name, value in values.items() if value != "absent"})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not JSON"),
        ("[" * 60_000 + "]", "not JSON"),
        ("5", "does not have the fields"),
        (document(more=1), "does not have the fields"),
        (document(cluster="absent"), "does not have the fields"),
        (document(cluster=5), "names no cluster"),
        (document(expires_at="soon"), "is no number"),
        (document(expires_at=True), "is no number"),
        (document(host_tls_ca_pem=[]), "no list of texts"),
        (document(host_tls_ca_pem="x"), "no list of texts"),
        (document(host_ssh_ca=[5]), "no list of texts"),
        (document(host_tls_ca_pem=["x"]), "not one CA certificate"),
        (document(host_ssh_ca=["x"]), "not an OpenSSH public key"),
        (document().ljust(MAX_DOCUMENT + 1), f"of {MAX_DOCUMENT + 1} characters is refused unread"),
    ],
)
def test_what_is_no_list_is_refused_even_if_signed(text, why):
    with pytest.raises(BadTrustError, match=why):
        follow([B.pin], [signed_by_b(text)], now=NOW)


def signed_by_b(text):
    return SignedTrust(document=text, signatures={B.pin: sign_trust(text, B.key)})


def test_a_list_of_the_largest_size_is_read():
    assert follow([B.pin], [signed_by_b(document().ljust(MAX_DOCUMENT))], now=NOW) == trust(B)


def test_a_list_that_no_utf_8_can_hold_is_signed_by_nobody():
    """JSON can carry half a pair of surrogates to us; what cannot be encoded must not end the caller."""
    offered = attrs.evolve(PRESENT, document=PRESENT.document + "\ud800")
    with pytest.raises(BadTrustError, match="nothing that is offered"):
        follow([B.pin, C.pin], [offered, offered], now=NOW)
    assert follow([B.pin], [offered, PRESENT], now=NOW) == trust(B, C)


def test_a_signature_has_one_spelling():
    key, signature = PRESENT.signatures[B.pin].split(".")
    for text in (
        f"{key}\n.{signature}",
        f"{key}.{signature}\n",
        f"{key}.!{signature}",
        f"{key}.{signature}.",
    ):
        assert not verifies(B.pin, PRESENT.document, text)


def test_a_chain_stays_in_its_cluster():
    other = signed(trust(B, C, cluster="other"), B)
    with pytest.raises(BadTrustError, match="another cluster"):
        follow([A.pin], [LAST_OF_A, other], now=NOW)


def test_there_is_an_end_to_what_is_looked_at():
    noise = [signed(trust(EVIL), EVIL)] * MOST_DOCUMENTS
    with pytest.raises(BadTrustError):
        follow([B.pin], [*noise, PRESENT], now=NOW)
    assert follow([B.pin], [*noise[1:], PRESENT], now=NOW) == trust(B, C)
    crowd = {f"{number:064}": "AAAA" for number in range(MOST_SIGNATURES)}
    late = attrs.evolve(PRESENT, signatures={**crowd, **PRESENT.signatures})
    with pytest.raises(BadTrustError):
        follow([B.pin], [late], now=NOW)


def test_a_key_of_a_kind_that_no_ca_has_verifies_nothing():
    key = rsa.generate_private_key(65537, 2048).public_key()
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    text = f"{base64.b64encode(der).decode()}.AAAA"
    assert not verifies(hashlib.sha256(der).hexdigest(), PRESENT.document, text)


def test_the_key_is_the_one_that_the_pin_names():
    """Whoever offers the list brings the key along: it is looked at only if it hashes to the pin."""
    forged = signed(trust(EVIL), EVIL)
    assert not verifies(B.pin, forged.document, forged.signatures[EVIL.pin])
    assert verifies(EVIL.pin, forged.document, forged.signatures[EVIL.pin])
