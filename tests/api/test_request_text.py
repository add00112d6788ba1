# SPDX-License-Identifier: Apache-2.0
"""Threat P20: what one part of a hub reads as text and another cannot store."""

import pytest

from mezite.api.pb.mezite.v1 import auth_pb2, factors_pb2, requests_pb2, users_pb2
from mezite.api.request_text import check_text
from mezite.services.errors import InvalidRequestError

BAD = "a\0b"
TRAITS = {"logins": users_pb2.TraitValues(values=["root", BAD])}


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (auth_pb2.AuthenticateLocalRequest(username=BAD), "username"),
        (requests_pb2.CreateAccessRequestRequest(roles=["x", BAD]), "roles"),
        (factors_pb2.BeginTotpRequest(proof=factors_pb2.Proof(totp=BAD)), "totp"),
        (users_pb2.CreateUserRequest(name="x", traits=TRAITS), "values"),
        (users_pb2.CreateUserRequest(traits={BAD: users_pb2.TraitValues()}), "traits"),
    ],
)
def test_a_nul_is_refused_by_the_name_of_its_field(request_, field):
    with pytest.raises(InvalidRequestError, match=f"{field} has a NUL"):
        check_text(request_)


def test_everything_else_is_for_others_to_judge():
    check_text(auth_pb2.AuthenticateLocalRequest(username="\x01\N{PILE OF POO}"))
    check_text(users_pb2.CreateUserRequest(name="x", roles=["a"], traits={"a": users_pb2.TraitValues()}))
    check_text(requests_pb2.ReviewAccessRequestRequest(approve=True, id="x"))
