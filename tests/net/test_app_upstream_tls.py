# SPDX-License-Identifier: Apache-2.0
import pytest
import trio
import trio.testing

from mezite.net import app_upstream_tls
from mezite.net.app_upstream_tls import HANDSHAKE_SECONDS, MAX_CONTEXTS, TlsTrust, UpstreamTls
from mezite.net.tls_contexts import server_context
from mezite.net.tls_stream import TlsError, TlsStream
from mezite.testing.memory_network import MemoryNetwork, MemoryStream
from mezite.testing.self_signed import self_signed_pem

CERT, KEY = self_signed_pem("wiki.internal")
TRUSTED = TlsTrust(ca_pem=CERT.decode())


async def transports() -> tuple[MemoryStream, MemoryStream]:
    async with (network := MemoryNetwork()).listen("app:443") as listener:
        return await network.dial("app:443"), await listener.accept()


async def wrap(
    trust: TlsTrust, server_name: str = "wiki.internal", *, http2: bool = True
) -> tuple[TlsStream, TlsStream]:
    """Both ends. What the server makes of a failure is its own business."""
    ours, theirs = await transports()
    server = TlsStream(theirs, server_context(CERT, KEY, ["h2", "http/1.1"]), server_side=True)
    wrapped: list[TlsStream] = []

    async def serve() -> None:
        try:
            await server.do_handshake()
        except (TlsError, trio.BrokenResourceError):
            return

    failures: list[TlsError] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        try:
            wrapped.append(await UpstreamTls().wrap(ours, trust, server_name, http2=http2))
        except TlsError as error:
            failures.append(error)
    if failures:
        assert ours.closed
        raise failures[0]
    return wrapped[0], server


@pytest.mark.parametrize(
    ("name", "http2", "alpn"), [("wiki.internal", False, "http/1.1"), ("127.0.0.1", True, "h2")]
)
async def test_the_certificate_is_verified_through_the_channel(name: str, http2: bool, alpn: str) -> None:
    client, server = await wrap(TRUSTED, name, http2=http2)
    assert client.alpn == server.alpn == alpn
    await client.send_all(b"hello")
    assert await server.receive_some() == b"hello"


@pytest.mark.parametrize(
    ("trust", "name", "words"),
    [
        (TRUSTED, "other.internal", "other.internal"),
        (TRUSTED, "127.0.0.2", "127.0.0.2"),
        (TlsTrust(), "wiki.internal", "certificate"),
        (TlsTrust(ca_pem=self_signed_pem("other")[0].decode()), "wiki.internal", "certificate"),
        (TlsTrust(ca_pem="no certificate"), "wiki.internal", "CA certificates cannot be used"),
    ],
)
async def test_who_is_not_believed(trust: TlsTrust, name: str, words: str) -> None:
    with pytest.raises(TlsError, match=words):
        await wrap(trust, name)


async def test_anybody_is_believed_where_that_was_asked_for() -> None:
    client, _ = await wrap(TlsTrust(skip_verify=True), "other.internal")
    assert client.version is not None


async def test_a_handshake_has_a_deadline(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = await transports()
    began = trio.current_time()
    with pytest.raises(TlsError, match="longer than"):
        await UpstreamTls().wrap(ours, TRUSTED, "wiki.internal", http2=True)
    assert trio.current_time() - began == HANDSHAKE_SECONDS
    assert ours.closed
    await theirs.aclose()


async def test_contexts_are_kept_but_not_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[TlsTrust] = []
    make_context = app_upstream_tls.make_context
    monkeypatch.setattr(
        app_upstream_tls,
        "make_context",
        lambda trust, http2: made.append(trust) or make_context(trust, http2),
    )
    tls = UpstreamTls()
    trusts = [TlsTrust(ca_pem=CERT.decode() + "\n" * number) for number in range(MAX_CONTEXTS + 1)]
    for trust in (*trusts[:-1], trusts[0], trusts[-1], trusts[0], trusts[1]):
        tls._context(trust, True)
    assert made == [*trusts, trusts[1]]
