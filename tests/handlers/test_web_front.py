# SPDX-License-Identifier: Apache-2.0
"""Which application a request reaches, and what of its header."""

from __future__ import annotations

from itertools import count

import pytest
import trio
import trio.testing

from mezite.core.http1.host_table import HostTable
from mezite.handlers.web_front import HostRouter, WebFront, rules_by_host
from mezite.net.asgi_types import ASGIApp, Message, Receive, Scope, Send
from mezite.net.http1_limits import HostRules
from mezite.net.http1_request import PATIENCE

HOSTS = HostTable(names=frozenset({"hub.example"}), apps_domain="apps.example")


def noting(name: str, seen: list[tuple[str, Scope]]) -> ASGIApp:
    async def app(scope: Scope, _receive: Receive, _send: Send) -> None:
        seen.append((name, scope))

    return app


async def reached(scope: Scope) -> tuple[str, Scope]:
    seen: list[tuple[str, Scope]] = []

    async def nothing(*_arguments: object) -> Message:
        raise AssertionError("nobody answers here")

    router = HostRouter(hosts=HOSTS, hub=noting("hub", seen), applications=noting("applications", seen))
    await router(scope, nothing, nothing)  # type: ignore[arg-type]
    (found,) = seen
    return found


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(("host", "name"), [(b"hub.example", "hub"), (b"a.apps.example", "applications")])
async def test_no_application_sees_fields_that_only_the_hub_writes(kind: str, host: bytes, name: str) -> None:
    """D4, D5: one place for all, and for WebSockets like for the rest."""
    lies = [(b"x_mezite_user", b"admin"), (b"x-forwarded-for", b"1.2.3.4"), (b"Mezite-Jwt-Assertion", b"x")]
    kept = [(b"host", host), (b"cookie", b"a=b"), (b"sec-websocket-key", b"k")]
    found, scope = await reached({"type": kind, "headers": [*kept, *lies], "path": "/"})
    assert (found, scope["headers"]) == (name, kept)


async def test_what_is_no_request_goes_to_the_hub() -> None:
    assert (await reached({"type": "lifespan"}))[0] == "hub"


def test_applications_have_rules_of_their_own() -> None:
    """Uploads of any size and paths of any meaning; the hub's own host keeps to its limits (D8, D15)."""
    rules_of = rules_by_host(HOSTS)
    assert not rules_of(b"a.apps.example:3080").plain_paths
    for host in (b"hub.example", b"", b"apps.example", b"elsewhere.example"):
        assert rules_of(host) == HostRules()
    assert rules_of(b"a.apps.example").limits.body_bytes > 1 << 40


@pytest.mark.parametrize(("patient", "reads_after", "seconds"), [(0, 0, 15), (1, 0, 600), (1, 300, 315)])
async def test_strangers_at_applications_get_no_more_time_than_at_the_hub(
    patient: int, reads_after: int, seconds: int, autojump_clock: trio.testing.MockClock
) -> None:
    """Threat D14: who is not let in reads none of the hub's own answers; who is may pause, and owes nothing later."""
    asked = count(1)

    async def app(scope: Scope, _receive: Receive, send: Send) -> None:
        if next(asked) <= patient:
            scope["extensions"][PATIENCE]()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"hi"})

    front = WebFront(app=app, rules_of=rules_by_host(HOSTS))
    client, server = trio.testing.lockstep_stream_pair()
    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(front.serve, server, "https", "203.0.113.9:5000", "127.0.0.1:3080")
        await client.send_all(b"GET / HTTP/1.1\r\nHost: a.apps.example\r\n\r\n" * 2)
        if reads_after:
            await trio.sleep(reads_after)
            assert (await client.receive_some()).endswith(b"hi")
    assert trio.current_time() - began == pytest.approx(seconds, abs=1)
