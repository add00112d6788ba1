# SPDX-License-Identifier: Apache-2.0
"""What those who check are given, during a rotation too."""

import json

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from mezite.core.certificates.ssh import parse_authorized_key_line
from mezite.core.certificates.x509_issue import load_certificates
from mezite.services.authorities.key_export import app_jwks, export_keys
from mezite.services.authorities.keys import Purpose
from mezite.services.authorities.rotation import AuthorityRotation


@pytest.fixture
async def authorities(world):
    """In the middle of a rotation of everything."""
    rotation = AuthorityRotation(
        database=world.database,
        authorities=world.authorities,
        audit=world.audit,
        sources=world.sources,
        hub_id="hub-1",
    )
    for purpose in Purpose:
        await rotation.begin(purpose, by="root", client_address="192.0.2.7:1")
    return world.authorities


async def test_ssh(authorities):
    lines = export_keys(authorities, Purpose.USER_SSH).splitlines()
    assert lines == authorities.user_ssh_ca_lines
    assert all(parse_authorized_key_line(line) for line in lines)
    known_hosts = export_keys(authorities, Purpose.HOST_SSH).splitlines()
    assert known_hosts == [f"@cert-authority * {line}" for line in authorities.host_ssh_ca_lines]
    assert len(lines) == len(known_hosts) == 2


@pytest.mark.parametrize("purpose", [Purpose.HOST_TLS, Purpose.USER_TLS])
async def test_certificates(authorities, purpose):
    assert len(load_certificates(export_keys(authorities, purpose).encode())) == 2


async def test_the_next_key_of_assertions_is_published_ahead(authorities):
    """Contract section 5, threat E3."""
    jwks = json.loads(export_keys(authorities, Purpose.APP_JWT))
    assert jwks == app_jwks(authorities)
    assert len({key["kid"] for key in jwks["keys"]}) == 2
    assert not any("d" in key for key in jwks["keys"])


@pytest.mark.parametrize("purpose", [Purpose.RECORDINGS, Purpose.AUDIT])
async def test_public_keys(authorities, purpose):
    text = export_keys(authorities, purpose)
    first, second = text.split("-----END PUBLIC KEY-----\n")[:2]
    for block in (first, second):
        assert load_pem_public_key(f"{block}-----END PUBLIC KEY-----\n".encode())


@pytest.mark.parametrize("purpose", Purpose)
async def test_nothing_private_leaves(authorities, purpose):
    assert "PRIVATE" not in export_keys(authorities, purpose)
