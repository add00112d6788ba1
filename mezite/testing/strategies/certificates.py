# SPDX-License-Identifier: Apache-2.0
"""Specifications of certificates that mezite issues, and damaged copies of certificates."""

from hypothesis import strategies as st

from mezite.core.certificates.ssh import FLAG_EXTENSIONS, HostCertificateSpec, UserCertificateSpec
from mezite.testing.strategies.core_texts import logins, node_names, role_names, traits, user_names

__all__ = ["damaged", "host_certificate_specs", "user_certificate_specs"]

SECONDS = st.integers(0, 2**40)
NONCES = st.binary(min_size=16, max_size=64)
SERIALS = st.integers(0, 2**64 - 1)


@st.composite
def user_certificate_specs(draw: st.DrawFn) -> UserCertificateSpec:
    """Any specification that issue_user_certificate takes, without a forced command."""
    valid_after = draw(SECONDS)
    blocks = st.sampled_from(["10.0.0.0/8", "192.0.2.7", "2001:db8::/32", "::1", "0.0.0.0/0"])
    pinned = draw(st.lists(blocks, max_size=3))
    return UserCertificateSpec(
        serial=draw(SERIALS),
        key_id=draw(user_names()),
        principals=draw(st.lists(logins(), min_size=1, max_size=5, unique=True)),
        valid_after=valid_after,
        valid_before=valid_after + draw(st.integers(1, 100_000)),
        nonce=draw(NONCES),
        extensions=draw(st.frozensets(st.sampled_from(sorted(FLAG_EXTENSIONS)))),
        critical_options={"source-address": ",".join(pinned)} if pinned else {},
        roles=draw(st.lists(role_names(), max_size=4, unique=True)),
        traits=draw(traits()),
    )


@st.composite
def host_certificate_specs(draw: st.DrawFn) -> HostCertificateSpec:
    """Any specification that issue_host_certificate takes."""
    valid_after = draw(SECONDS)
    return HostCertificateSpec(
        serial=draw(SERIALS),
        key_id=draw(user_names()),
        principals=draw(st.lists(node_names(), min_size=1, max_size=5, unique=True)),
        valid_after=valid_after,
        valid_before=valid_after + draw(st.integers(1, 100_000)),
        nonce=draw(NONCES),
    )


@st.composite
def damaged(draw: st.DrawFn, original: bytes) -> bytes:
    """``original`` with one byte changed, bytes cut out, or bytes put in; never equal to it."""
    position = draw(st.integers(0, len(original) - 1))
    match draw(st.sampled_from(["change", "cut", "insert"])):
        case "change":
            flipped = original[position] ^ draw(st.integers(1, 255))
            return original[:position] + bytes([flipped]) + original[position + 1 :]
        case "cut":
            return original[:position] + original[position + draw(st.integers(1, 64)) :]
        case _:
            return original[:position] + draw(st.binary(min_size=1, max_size=8)) + original[position:]
