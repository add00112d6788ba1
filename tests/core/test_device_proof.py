# SPDX-License-Identifier: Apache-2.0
import pytest

from mezite.core.certificates.keys import InvalidKeyError, generate_ed25519, generate_p256
from mezite.core.certificates.ssh_public_key import authorized_key_line, public_key_blob
from mezite.core.device_proof import DevicePurpose, certified_keys, device_key, proof_is_valid, sign_proof

PARTS = ("test", "alice", "challenge", "ssh-ed25519 AAAA")
LOGIN, ENROLL = DevicePurpose.LOGIN, DevicePurpose.ENROLL


@pytest.mark.parametrize("make", [generate_ed25519, generate_p256])
def test_a_proof_is_good_for_what_it_was_made_for(make):
    key = make()
    proof = sign_proof(key, LOGIN, *PARTS)
    assert proof_is_valid(key.public_key(), proof, LOGIN, *PARTS)
    assert not proof_is_valid(make().public_key(), proof, LOGIN, *PARTS)
    assert not proof_is_valid(key.public_key(), proof, ENROLL, *PARTS)
    for number in range(len(PARTS)):
        other = [*PARTS[:number], "other", *PARTS[number + 1 :]]
        assert not proof_is_valid(key.public_key(), proof, LOGIN, *other)


def test_parts_do_not_run_together():
    key = generate_ed25519()
    proof = sign_proof(key, LOGIN, "ab", "c")
    assert not proof_is_valid(key.public_key(), proof, LOGIN, "a", "bc")
    assert not proof_is_valid(key.public_key(), proof, LOGIN, "abc")


@pytest.mark.parametrize("proof", [b"", b"\0\0\0\x0bssh-ed25519", b"x" * 80])
def test_what_is_no_signature_is_no_proof(proof):
    assert not proof_is_valid(generate_ed25519().public_key(), proof, LOGIN, *PARTS)


def test_keys():
    key = generate_ed25519().public_key()
    line = authorized_key_line(public_key_blob(key))
    assert public_key_blob(device_key(line)) == public_key_blob(key)
    for damaged in ("", "ssh-ed25519 AAAA", line[:-8]):
        with pytest.raises(InvalidKeyError):
            device_key(damaged)


def test_what_stands_for_keys():
    assert certified_keys("a\n", " b") == certified_keys("a", "b") != certified_keys("b", "a")
