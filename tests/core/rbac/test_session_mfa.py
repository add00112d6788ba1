# SPDX-License-Identifier: Apache-2.0
import attrs
import pytest

from mezite.core.rbac.role_options import SessionMfa
from mezite.core.rbac.session_mfa import ProvenFactor, ProvenFor, SessionProof, satisfies


@pytest.mark.parametrize(
    ("needs", "enough"),
    [
        (SessionMfa.NONE, "totp webauthn hardware_key"),
        (SessionMfa.ANY, "totp webauthn hardware_key"),
        (SessionMfa.TOTP, "totp webauthn hardware_key"),
        (SessionMfa.WEBAUTHN, "webauthn hardware_key"),
        (SessionMfa.HARDWARE_KEY, "hardware_key"),
    ],
)
def test_a_stricter_factor_is_enough_for_a_milder_wish(needs, enough):
    assert [factor.value for factor in ProvenFactor if satisfies(factor, needs)] == enough.split()


PROOF = SessionProof(
    user_name="alice",
    factor=ProvenFactor.TOTP,
    at=1,
    kind=ProvenFor.NODE,
    targets=frozenset({"root@db-1", "web-1"}),
)


@pytest.mark.parametrize(
    ("kind", "name", "login", "covered"),
    [
        ("node", "db-1", "root", True),
        ("node", "db-1", "ubuntu", False),
        ("node", "db-1", None, False),
        ("node", "web-1", "root", True),
        ("node", "web-1", None, True),
        ("node", "web-2", "root", False),
        ("node", "root@db-1", None, True),  # no node and no app is called so
        ("app", "web-1", None, False),
    ],
)
def test_it_is_good_for_its_targets(kind, name, login, covered):
    assert PROOF.covers(kind, name, login) is covered


def test_an_application_is_no_node():
    app = attrs.evolve(PROOF, kind=ProvenFor.APP, targets=frozenset({"grafana"}))
    assert app.covers("app", "grafana", None)
    assert not app.covers("node", "grafana", "root")
