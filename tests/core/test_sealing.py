# SPDX-License-Identifier: Apache-2.0
import itertools

import pytest

from mezite.core.sealing import NO_SECRET, SealedSecretError, seal, unseal

PASSPHRASE = b"correct horse"


def counted():
    numbers = itertools.count(1)
    return lambda count: bytes([next(numbers)]) * count


SEALED = seal("s3cret-ü", PASSPHRASE, "keycloak", counted())


def test_without_a_passphrase_it_is_stored_as_it_is():
    stored = seal("s3cret", None, "keycloak", counted())
    assert (stored, unseal(stored, None, "keycloak")) == ("plain:s3cret", "s3cret")
    assert unseal(stored, PASSPHRASE, "keycloak") == "s3cret"
    assert unseal(NO_SECRET, None, "x") == ""


def test_with_a_passphrase_nothing_of_it_shows():
    """Threat H6."""
    assert SEALED.startswith("scrypt1:")
    assert "s3cret" not in SEALED
    assert unseal(SEALED, PASSPHRASE, "keycloak") == "s3cret-ü"


@pytest.mark.parametrize(
    ("stored", "passphrase", "context"),
    [
        (SEALED, None, "keycloak"),
        (SEALED, b"another", "keycloak"),
        (SEALED, PASSPHRASE, "google"),
        (SEALED[:-8], PASSPHRASE, "keycloak"),
        (SEALED[:-4] + "AAA=", PASSPHRASE, "keycloak"),
        ("scrypt1:", PASSPHRASE, "keycloak"),
        ("scrypt1:%%", PASSPHRASE, "keycloak"),
        ("something else", PASSPHRASE, "keycloak"),
    ],
)
def test_what_does_not_open(stored, passphrase, context):
    with pytest.raises(SealedSecretError, match="ca_key_passphrase"):
        unseal(stored, passphrase, context)
