# SPDX-License-Identifier: Apache-2.0
"""The host's certificate as a key."""

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mezite.ssh.algorithms import HOST_CERTIFICATE_TYPE, HostCertKey, HostIdentity
from mezite.ssh.client_files import certificate_line
from mezite.ssh.errors import SshError
from mezite.ssh.wire import WireReader, string
from tests.ssh.peers import Authority


def test_certificate_is_presented_and_the_key_signs():
    identity = Authority().host("node-1")
    key = HostCertKey(identity)
    assert (key.get_name(), key.asbytes()) == (HOST_CERTIFICATE_TYPE, identity.certificate)
    reader = WireReader(key.sign_ssh_data(b"hash", HOST_CERTIFICATE_TYPE).asbytes())
    assert reader.string() == b"ssh-ed25519"
    identity.key.public_key().verify(reader.string(), b"hash")


def test_certificate_of_another_key_or_kind():
    identity = Authority().host("node-1")
    with pytest.raises(SshError, match="another key"):
        HostCertKey(HostIdentity(Ed25519PrivateKey.generate(), identity.certificate))
    with pytest.raises(SshError, match="not for an Ed25519 key"):
        HostCertKey(HostIdentity(identity.key, string("ssh-rsa")))


def test_identity_from_a_line():
    identity = Authority().host("node-1")
    line = certificate_line(identity.certificate, "comment")
    assert HostIdentity.from_line(identity.key, line).certificate == identity.certificate
    for bad in ("", "ssh-ed25519 AAAA", f"{HOST_CERTIFICATE_TYPE} ???"):
        with pytest.raises(SshError):
            HostIdentity.from_line(identity.key, bad.encode())
