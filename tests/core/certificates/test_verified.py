# SPDX-License-Identifier: Apache-2.0
import copy
import pickle
import re
from pathlib import Path

import attrs
import pytest

from mezite.core.certificates.identity import PeerKind
from mezite.core.certificates.verified import (
    VerifiedHostCertificate,
    VerifiedPeer,
    VerifiedUserCertificate,
    construct_verified,
)

PACKAGE = Path(__file__).parents[3] / "mezite"
PEER = construct_verified(
    VerifiedPeer,
    kind=PeerKind.HUB,
    name="hub-1",
    cluster="test",
    generation=None,
    node_name=None,
    roles=(),
    traits={},
    source_address="",
    serial=1,
    not_before=0,
    not_after=1,
    spki_sha256="",
)


@pytest.mark.parametrize("cls", [VerifiedUserCertificate, VerifiedHostCertificate, VerifiedPeer])
def test_verified_values_cannot_be_made_by_calling_their_class_a2(cls):
    fields = {field.name: None for field in attrs.fields(cls)}
    with pytest.raises(TypeError, match="made by a verifier"):
        cls(**fields)
    with pytest.raises(TypeError, match="made by a verifier"):
        cls()


def test_verified_values_cannot_be_changed_copied_or_stored_a2():
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        PEER.name = "hub-2"
    with pytest.raises(TypeError, match="made by a verifier"):
        attrs.evolve(PEER, name="hub-2")
    for attempt in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match=r"^VerifiedPeer cannot be .*verify the certificate again$"):
            attempt(PEER)


def test_only_the_verifiers_know_how_to_make_them_a2():
    makers = {f"core/certificates/{name}.py" for name in ("verified", "ssh_verify", "x509_verify")}
    assert files_with(r"construct_verified|VerifiedOnly") == makers
    # Identities are made the same way, of what the verifiers return.
    assert files_with(r"type\.__call__") == {
        "core/certificates/verified.py",
        "services/identity/identities.py",
    }


def files_with(pattern: str) -> set[str]:
    return {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob("*.py")
        if re.search(pattern, path.read_text())
    }
