# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from ipaddress import ip_network

import pytest

from mezite.net.asgi_types import Receive, Scope, Send
from mezite.net.trusted_address import TrustedAddress, TrustedHeader

HEADER = TrustedHeader(name="X-Forwarded-For", trusted=[ip_network("10.0.0.0/8")])


async def seen_by_app(scope: Scope) -> object:
    seen = []

    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append(scope.get("client"))

    async def nothing(*_arguments: object) -> dict[str, object]:
        raise AssertionError("nobody receives or sends here")

    trusted = TrustedAddress(app=app, header=HEADER)
    await trusted(scope, nothing, nothing)  # type: ignore[arg-type]
    return seen[0]


@pytest.mark.parametrize(
    ("peer", "header", "expected"),
    [
        ("10.0.0.1", b"192.0.2.7", ("192.0.2.7", 0)),
        ("10.0.0.1", None, ("10.0.0.1", 4000)),
        ("8.8.8.8", b"192.0.2.7", ("8.8.8.8", 4000)),
        ("unknown", b"192.0.2.7", ("unknown", 4000)),
    ],
)
async def test_the_client_that_the_application_sees(
    peer: str, header: bytes | None, expected: tuple[str, int]
) -> None:
    headers = [] if header is None else [(b"x-forwarded-for", header)]
    scope = {"type": "http", "client": (peer, 4000), "headers": [(b"host", b"hub"), *headers]}
    assert await seen_by_app(scope) == expected


@pytest.mark.parametrize("scope", [{"type": "lifespan"}, {"type": "http", "headers": [], "client": None}])
async def test_other_scopes_are_left_alone(scope: Scope) -> None:
    assert await seen_by_app(scope) is None


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("10.0.0.1:4000", "192.0.2.7:0"),
        ("[::ffff:10.0.0.1]:4000", "192.0.2.7:0"),
        ("8.8.8.8:4000", "8.8.8.8:4000"),
        ("somewhere", "somewhere"),
        ("a:b:c", "a:b:c"),
    ],
)
def test_the_client_of_a_call(address: str, expected: str) -> None:
    """D7: what the client wrote itself stands on the left and proves nothing."""
    fields = [(b"x-forwarded-for", b"203.0.113.9, 192.0.2.7")]
    assert HEADER.client_address(address, fields) == expected
