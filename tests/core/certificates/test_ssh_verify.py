# SPDX-License-Identifier: Apache-2.0
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.fuzz_ssh_certificate import HOST, NOW, TRUSTED, USER, check
from mezite.core.certificates.keys import generate_ed25519
from mezite.core.certificates.refusal import CertificateRefused, Reason
from mezite.core.certificates.ssh_certificate import parse_ssh_certificate
from mezite.core.certificates.ssh_issue import issue_host_certificate, issue_user_certificate
from mezite.core.certificates.ssh_public_key import public_key_blob
from mezite.core.certificates.ssh_verify import verify_host_certificate, verify_user_certificate
from mezite.core.certificates.verified import VerifiedUserCertificate
from mezite.testing.certificates import ThrowAwayCa
from mezite.testing.strategies.certificates import damaged, host_certificate_specs, user_certificate_specs
from tests.core.certificates.ssh_material import (
    Material,
    critical,
    extensions,
    key_blob,
    number,
    option,
    string,
)
from tests.core.certificates.ssh_matrix import MUTATIONS

MATERIAL = Material("ubuntu", NOW)
CA = ThrowAwayCa(NOW)
KEY = generate_ed25519()


def verify(blob, *, login="ubuntu", source_address="127.0.0.1", now=NOW, **options):
    return verify_user_certificate(
        blob, trusted_cas=MATERIAL.trusted(), login=login, source_address=source_address, now=now, **options
    )


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_the_matrix_a4(mutation):
    blob = mutation.build(MATERIAL)
    begun = time.perf_counter()
    if mutation.reason is None:
        certificate = verify(blob, honours_force_command=mutation.honours_force_command)
        assert isinstance(certificate, VerifiedUserCertificate)
        assert certificate.public_key_blob == key_blob(MATERIAL.key(mutation.user))
        assert "ubuntu" in certificate.principals
    else:
        with pytest.raises(CertificateRefused) as caught:
            verify(blob, honours_force_command=mutation.honours_force_command)
        assert caught.value.reason is mutation.reason
        assert caught.value.message.isprintable()
    assert time.perf_counter() - begun < 0.5, "A9: a refusal takes milliseconds"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": number(2, 4)}, "a user certificate is needed, this is one of type 2"),
        ({"after": number(NOW + 9, 8), "before": number(NOW, 8)}, "the certificate ends before it begins"),
        ({"principals": number(0, 4)}, "the certificate names no principals"),
        (
            {"ca": "stranger-ed25519"},
            "the certificate is not signed by a certificate authority that is trusted for this",
        ),
        (
            {"sign": lambda _: string(b"ssh-ed25519") + string(bytes(64))},
            "the signature is wrong, or by an algorithm that is not accepted",
        ),
    ],
)
def test_a_refusal_says_what_is_wrong(fields, message):
    with pytest.raises(CertificateRefused) as caught:
        verify(MATERIAL.build(**fields))
    assert caught.value.message == message


def test_there_are_enough_mutations():
    assert len(MUTATIONS) > 100
    assert len({mutation.name for mutation in MUTATIONS}) == len(MUTATIONS)
    assert {mutation.reason for mutation in MUTATIONS} >= set(Reason) - {
        Reason.WRONG_CLUSTER,
        Reason.WRONG_USAGE,
    }


def test_what_the_verified_value_holds():
    blob = CA.user_certificate(
        KEY.public_key(),
        principals=("ubuntu", "deploy"),
        critical_options={"source-address": "10.0.0.0/8", "force-command": "uptime"},
        roles=("access", "auditor"),
        traits={"logins": ("ubuntu", "deploy")},
        request_ids=("request-2", "request-1"),
        device_id="device-1",
    )
    certificate = verify_user_certificate(
        blob,
        trusted_cas=[CA.user_ssh_blob],
        login=None,
        source_address="::ffff:10.1.2.3",
        now=NOW,
        honours_force_command=True,
    )
    assert certificate.key_id == "alice"
    assert certificate.serial == parse_ssh_certificate(blob).serial
    assert certificate.principals == ("ubuntu", "deploy")
    assert certificate.roles == ("access", "auditor")
    assert certificate.traits == {"logins": ("ubuntu", "deploy")}
    assert certificate.request_ids == ("request-1", "request-2")
    assert certificate.device_id == "device-1"
    assert certificate.extensions == {"permit-pty", "permit-port-forwarding", "permit-agent-forwarding"}
    assert certificate.force_command == "uptime"
    assert certificate.source_address == "10.0.0.0/8"
    assert (certificate.valid_after, certificate.valid_before) == (NOW - 300, NOW + 86_400)
    assert certificate.public_key_blob == public_key_blob(KEY.public_key())
    assert certificate.ca_key_blob == CA.user_ssh_blob
    with pytest.raises(TypeError):
        certificate.traits["logins"] = ("root",)


def test_without_own_extensions_there_are_no_roles():
    certificate = verify(MATERIAL.build())
    assert certificate.roles == ()
    assert certificate.traits == {}
    assert (certificate.request_ids, certificate.device_id) == ((), "")
    assert certificate.extensions == {"permit-pty"}
    assert certificate.force_command is None
    assert certificate.source_address is None
    assert verify(extensions(option(b"roles@mezite", b""))(MATERIAL)).roles == ()


def test_the_window_is_half_open_and_the_message_tells_the_clock_f6():
    blob = MATERIAL.build(after=number(NOW - 10, 8), before=number(NOW + 10, 8))
    assert verify(blob, now=NOW - 10)
    assert verify(blob, now=NOW + 9)
    with pytest.raises(CertificateRefused, match=r"not valid for another 600 s.*your clock is 900 s off"):
        verify(blob, now=NOW - 610)
    with pytest.raises(CertificateRefused, match=r"expired 590 s ago .*your clock is at least 590 s off"):
        verify(blob, now=NOW + 600)


@pytest.mark.parametrize(
    ("blocks", "address", "allowed"),
    [
        ("10.0.0.0/8", "10.255.0.1", True),
        ("10.0.0.0/8", "11.0.0.1", False),
        ("10.0.0.0/8", "", False),
        ("10.0.0.0/8", "10.0.0.1:22", False),
        ("0.0.0.0/0", "::1", False),
        ("2001:db8::/32", "2001:db8::1", True),
        ("10.0.0.0/8", "::ffff:10.0.0.1", True),
        ("10.0.0.0/8", "::FFFF:a00:1", True),
    ],
)
def test_source_addresses_are_enforced(blocks, address, allowed):
    blob = critical(option(b"source-address", blocks.encode()))(MATERIAL)
    if allowed:
        assert verify(blob, source_address=address).source_address == blocks
    else:
        with pytest.raises(CertificateRefused, match="pinned to") as caught:
            verify(blob, source_address=address)
        assert caught.value.reason is Reason.SOURCE_ADDRESS


def test_who_sees_no_address_is_told_so():
    blob = critical(option(b"source-address", b"10.0.0.0/8"))(MATERIAL)
    with pytest.raises(
        CertificateRefused,
        match=r"^the certificate is pinned to 10\.0\.0\.0/8, the client is at 11\.0\.0\.1$",
    ):
        verify(blob, source_address="11.0.0.1")
    with pytest.raises(CertificateRefused, match=r"the client is at no address$"):
        verify(blob, source_address="")


def test_forced_commands_are_refused_unless_the_caller_runs_them():
    """Who says nothing about it does not know of it: the certificate would be good for any command."""
    blob = critical(option(b"force-command", b"uptime"))(MATERIAL)
    with pytest.raises(CertificateRefused, match=r"^forced commands are not honoured here$") as caught:
        verify(blob)
    assert caught.value.reason is Reason.FORCE_COMMAND
    assert verify(blob, honours_force_command=True).force_command == "uptime"


@pytest.mark.parametrize(
    ("data", "why"), [(b"", "is empty"), (b"a\n", "is malformed: text has control characters")]
)
def test_a_broken_option_is_named(data, why):
    blob = critical(option(b"force-command", data))(MATERIAL)
    with pytest.raises(CertificateRefused, match=f"^the option 'force-command' {why}$") as caught:
        verify(blob, honours_force_command=True)
    assert caught.value.reason is Reason.MALFORMED


def test_a_certificate_in_the_trusted_set_is_no_ca():
    """A misconfigured set of CAs cannot let a certificate in as a signer either."""
    blob = next(mutation for mutation in MUTATIONS if mutation.name == "signer is a certificate").build(
        MATERIAL
    )
    inner = parse_ssh_certificate(blob).ca_key_blob
    with pytest.raises(CertificateRefused, match="not supported") as caught:
        verify_user_certificate(blob, trusted_cas=[inner], login=None, source_address="", now=NOW)
    assert caught.value.reason is Reason.UNTRUSTED_SIGNER


def test_trusted_keys_that_are_broken_sign_nothing():
    broken = key_blob(MATERIAL.key("ca-ed25519")) + b"\0"
    blob = next(mutation for mutation in MUTATIONS if mutation.name == "CA key with trailing byte").build(
        MATERIAL
    )
    with pytest.raises(CertificateRefused) as caught:
        verify_user_certificate(blob, trusted_cas=[broken], login=None, source_address="", now=NOW)
    assert caught.value.reason is Reason.BAD_SIGNATURE


def test_no_trusted_ca_trusts_nobody():
    with pytest.raises(CertificateRefused) as caught:
        verify_user_certificate(MATERIAL.build(), trusted_cas=[], login=None, source_address="", now=NOW)
    assert caught.value.reason is Reason.UNTRUSTED_SIGNER


# Host certificates.


def verify_host(blob, name="web-1", now=NOW):
    return verify_host_certificate(blob, trusted_cas=[CA.host_ssh_blob], host_name=name, now=now)


def test_a_host_certificate():
    certificate = verify_host(CA.host_certificate(KEY.public_key(), "web-1", "web-1.test"), "web-1.test")
    assert certificate.principals == ("web-1", "web-1.test")
    with pytest.raises(CertificateRefused, match=r"^the certificate is for web-1, web-1\.test, not web-2$"):
        verify_host(CA.host_certificate(KEY.public_key(), "web-1", "web-1.test"), "web-2")
    assert certificate.key_id == "web-1"
    assert certificate.public_key_blob == public_key_blob(KEY.public_key())
    assert certificate.ca_key_blob == CA.host_ssh_blob
    assert certificate.valid_after <= NOW < certificate.valid_before


@pytest.mark.parametrize("name", ["web-2", "WEB-1", "web", "web-1.", "*", ""])
def test_host_names_match_byte_by_byte_a13(name):
    with pytest.raises(CertificateRefused, match="is for web-1, not") as caught:
        verify_host(CA.host_certificate(KEY.public_key(), "web-1"), name)
    assert caught.value.reason is Reason.PRINCIPAL_MISMATCH


def host_mutation(**fields):
    values = {"kind": number(2, 4), "principals": WEB_1} | fields
    return MATERIAL.build(**values)


WEB_1 = string(string(b"web-1"))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"kind": number(1, 4)}, Reason.WRONG_TYPE),
        ({"before": number(NOW, 8)}, Reason.EXPIRED),
        ({"after": number(NOW + 1, 8)}, Reason.NOT_YET_VALID),
        ({"principals": number(0, 4)}, Reason.NO_PRINCIPALS),
        ({"principals": string(string(b"web-?"))}, Reason.PRINCIPAL_MISMATCH),
        ({"ca": "stranger-ed25519"}, Reason.UNTRUSTED_SIGNER),
        ({"critical": string(option(b"force-command"))}, Reason.UNKNOWN_CRITICAL_OPTION),
    ],
)
def test_host_mutations_a13(fields, reason):
    verify_host_certificate(host_mutation(), trusted_cas=MATERIAL.trusted(), host_name="web-1", now=NOW)
    with pytest.raises(CertificateRefused) as caught:
        verify_host_certificate(
            host_mutation(**fields), trusted_cas=MATERIAL.trusted(), host_name="web-1", now=NOW
        )
    assert caught.value.reason is reason


def test_a_host_certificate_has_no_options():
    blob = host_mutation(critical=string(option(b"force-command", b"id")))
    with pytest.raises(
        CertificateRefused, match=r"^a host certificate has no critical options, this one has$"
    ):
        verify_host_certificate(blob, trusted_cas=MATERIAL.trusted(), host_name="web-1", now=NOW)


def test_user_and_host_cas_are_not_exchangeable():
    user, host = CA.user_certificate(KEY.public_key()), CA.host_certificate(KEY.public_key(), "web-1")
    with pytest.raises(CertificateRefused):
        verify_user_certificate(user, trusted_cas=[CA.host_ssh_blob], login=None, source_address="", now=NOW)
    with pytest.raises(CertificateRefused):
        verify_host_certificate(host, trusted_cas=[CA.user_ssh_blob], host_name="web-1", now=NOW)


# Properties.


@given(user_certificate_specs(), st.data())
def test_what_is_issued_verifies_within_its_window(spec, data):
    blob = issue_user_certificate(CA.user_ssh, KEY.public_key(), spec)
    inside = data.draw(st.integers(spec.valid_after, spec.valid_before - 1))
    address = "10.0.0.1"
    options = {"login": data.draw(st.sampled_from(spec.principals)), "source_address": address}
    try:
        certificate = verify_user_certificate(blob, trusted_cas=[CA.user_ssh_blob], now=inside, **options)
    except CertificateRefused as error:
        assert error.reason is Reason.SOURCE_ADDRESS
        return
    assert certificate.principals == tuple(spec.principals)
    assert certificate.roles == tuple(spec.roles)
    assert certificate.traits == dict(spec.traits)
    assert certificate.extensions == spec.extensions
    for outside in (spec.valid_after - 1, spec.valid_before):
        with pytest.raises(CertificateRefused):
            verify_user_certificate(blob, trusted_cas=[CA.user_ssh_blob], now=outside, **options)


@given(host_certificate_specs(), st.data())
def test_what_is_issued_to_hosts_verifies(spec, data):
    blob = issue_host_certificate(CA.host_ssh, KEY.public_key(), spec)
    certificate = verify_host(blob, data.draw(st.sampled_from(spec.principals)), spec.valid_after)
    assert (certificate.serial, certificate.key_id) == (spec.serial, spec.key_id)


@given(damaged(USER) | damaged(HOST))
def test_any_damage_is_refused(blob):
    with pytest.raises(CertificateRefused):
        verify_user_certificate(
            blob,
            trusted_cas=TRUSTED,
            login="root",
            source_address="10.1.2.3",
            now=NOW,
            honours_force_command=True,
        )
    with pytest.raises(CertificateRefused):
        verify_host_certificate(blob, trusted_cas=TRUSTED, host_name="web-1", now=NOW)


@given(st.binary(max_size=80))
def test_fuzz_claim(data):
    check(data)
