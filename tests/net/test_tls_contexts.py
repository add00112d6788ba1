# SPDX-License-Identifier: Apache-2.0
import contextlib
import os
import ssl
from collections.abc import Callable

import pytest
import trio

from mezite.net.tls_contexts import (
    client_context,
    mutual_client_context,
    mutual_server_context,
    server_context,
    unverified_client_context,
)
from mezite.net.tls_stream import TlsStream
from mezite.testing.memory_network import MemoryNetwork
from mezite.testing.self_signed import self_signed_pem

CERT, KEY = self_signed_pem()

ALL: list[Callable[[], ssl.SSLContext]] = [
    lambda: mutual_server_context(CERT, KEY, [CERT], ["a"]),
    lambda: server_context(CERT, KEY, ["a"]),
    lambda: server_context(CERT, KEY, [], client_ca_pems=[CERT]),
    lambda: mutual_client_context([CERT], CERT, KEY, ["a"]),
    lambda: client_context([CERT], ["a"]),
    lambda: client_context(None, []),
    lambda: unverified_client_context(["a"]),
]


@pytest.mark.parametrize("build", ALL)
def test_what_holds_for_every_context(build: Callable[[], ssl.SSLContext]) -> None:
    context = build()
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_NO_COMPRESSION


def test_which_contexts_check_what() -> None:
    assert mutual_server_context(CERT, KEY, [CERT], []).verify_mode is ssl.CERT_REQUIRED
    assert server_context(CERT, KEY, []).verify_mode is ssl.CERT_NONE
    optional = server_context(CERT, KEY, [], client_ca_pems=[CERT])
    assert optional.verify_mode is ssl.CERT_OPTIONAL
    assert optional.minimum_version is ssl.TLSVersion.TLSv1_3
    tunnel = mutual_client_context([CERT], CERT, KEY, [])
    assert (tunnel.verify_mode, tunnel.check_hostname) == (ssl.CERT_REQUIRED, False)
    public = client_context([CERT], [])
    assert (public.verify_mode, public.check_hostname) == (ssl.CERT_REQUIRED, True)


@pytest.mark.parametrize("authorities", [[], [b""], [b" \n"]])
def test_no_authority_never_means_any_authority(authorities: list[bytes]) -> None:
    """F2: mutual TLS fails closed."""
    with pytest.raises(ValueError, match="no CA certificate"):
        mutual_server_context(CERT, KEY, authorities, [])
    with pytest.raises(ValueError, match="no CA certificate"):
        mutual_client_context(authorities, CERT, KEY, [])
    with pytest.raises(ValueError, match="no CA certificate"):
        client_context(authorities, [])


def test_unusable_pem_is_an_error_and_leaves_no_descriptor() -> None:
    other_key = self_signed_pem("other.example")[1]
    before = set(os.listdir("/proc/self/fd"))
    for cert, key in ((b"junk", KEY), (CERT, b"junk"), (CERT, other_key)):
        with pytest.raises(ssl.SSLError):
            server_context(cert, key, [])
    with pytest.raises(ssl.SSLError):
        client_context([b"junk"], [])
    assert set(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_no_session_can_be_resumed(version: ssl.TLSVersion) -> None:
    """F1: a resumed session would carry the old client certificate."""
    server_tls = server_context(CERT, KEY, [])
    client_tls = client_context([CERT], [])
    client_tls.maximum_version = version
    async with (network := MemoryNetwork()).listen("hub:1") as listener:
        client = TlsStream(
            await network.dial("hub:1"), client_tls, server_side=False, server_hostname="localhost"
        )
        server = TlsStream(await listener.accept(), server_tls, server_side=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.do_handshake)
            nursery.start_soon(server.do_handshake)
        await server.send_all(b"x")
        await client.receive_some()
        session = client._engine.tls.session
        assert session is None or not session.has_ticket


def test_no_client_makes_a_server_shake_hands_again() -> None:
    for context in (
        server_context(CERT, KEY, []),
        server_context(CERT, KEY, [], client_ca_pems=[CERT]),
        mutual_server_context(CERT, KEY, [CERT], []),
    ):
        assert context.options & ssl.OP_NO_RENEGOTIATION
        assert context.options & ssl.OP_NO_COMPRESSION


@pytest.mark.parametrize("kind", ["mutual", "optional"])
async def test_no_client_comes_back_past_the_checks_of_its_certificate(kind: str) -> None:
    """F1: no ticket arrives, and a session that is offered all the same is not taken up again."""
    if kind == "mutual":
        server_tls = mutual_server_context(CERT, KEY, [CERT], [])
    else:
        server_tls = server_context(CERT, KEY, [], client_ca_pems=[CERT])
    client_tls = mutual_client_context([CERT], CERT, KEY, [])
    session: ssl.SSLSession | None = None
    for _ in range(2):
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = client_tls.wrap_bio(incoming, outgoing, session=session)
        server = server_tls.wrap_bio(outgoing, incoming, server_side=True)
        for side in (client, server, client, server):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
        server.write(b"x")
        assert client.read() == b"x"
        assert client.session_reused is False
        assert server.session_reused is False
        assert server.getpeercert(binary_form=True) == ssl.PEM_cert_to_DER_cert(CERT.decode())
        session = client.session
        assert session is not None
        assert not session.has_ticket


async def test_an_optional_client_certificate_is_seen() -> None:
    server_tls = server_context(CERT, KEY, [], client_ca_pems=[CERT])
    for client_tls, expected in (
        (client_context([CERT], []), None),
        (mutual_client_context([CERT], CERT, KEY, []), ssl.PEM_cert_to_DER_cert(CERT.decode())),
    ):
        async with (network := MemoryNetwork()).listen("hub:1") as listener:
            client = TlsStream(
                await network.dial("hub:1"), client_tls, server_side=False, server_hostname="localhost"
            )
            server = TlsStream(await listener.accept(), server_tls, server_side=True)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(client.do_handshake)
                nursery.start_soon(server.do_handshake)
            assert server.peer_certificate() == expected
