# SPDX-License-Identifier: Apache-2.0
"""Start an ASGI application before it is served, and stop it afterwards."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from .asgi_types import ASGIApp, Message

__all__ = ["LifespanError", "run_lifespan"]

_log = logging.getLogger("mezite.net.asgi")

#: Seconds an application may take to start or to stop. Start-up connects to databases; past this, a hub that
#: hangs silently is worse than one that says why it does not start.
LIFESPAN_SECONDS = 60.0


class LifespanError(Exception):
    """The application reported that its start failed, or took too long."""


@asynccontextmanager
async def run_lifespan(app: ASGIApp) -> AsyncIterator[None]:
    """``app`` is started on entry and stopped on exit.

    An application that knows no lifespan (raises or returns without an answer) is served without one, as the
    specification demands. Raises :exc:`LifespanError` when the start failed. What the body raises comes out
    as it is, after the application was stopped; when cancelled, the application is cancelled with it.
    """
    lifespan = _Lifespan()
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lifespan.run, app)
        await lifespan.exchange("startup")
        failure = lifespan.failure
        if failure is None:
            try:
                yield
            except Exception as error:  # noqa: BLE001 - raised again below, outside the nursery
                failure = error
            await lifespan.exchange("shutdown")
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


@attrs.define(eq=False)
class _Lifespan:
    supported: bool = True
    failure: LifespanError | None = None
    _to_app: trio.MemorySendChannel[Message] = attrs.field(init=False)
    _from_server: trio.MemoryReceiveChannel[Message] = attrs.field(init=False)
    _answered: trio.Event = attrs.field(factory=trio.Event, init=False)

    def __attrs_post_init__(self) -> None:
        self._to_app, self._from_server = trio.open_memory_channel[Message](1)

    async def run(self, app: ASGIApp) -> None:
        scope: dict[str, Any] = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": {},
        }
        try:
            await app(scope, self._from_server.receive, self._send)
        except Exception:  # noqa: BLE001 - an application without lifespan raises whatever it likes
            _log.debug("the application ended its lifespan with an error", exc_info=True)
        self.supported = False
        self._answered.set()

    async def exchange(self, phase: str) -> None:
        """Tell the application ``phase`` and wait for its answer."""
        if not self.supported:
            return
        self._answered = trio.Event()
        with trio.move_on_after(LIFESPAN_SECONDS) as scope:
            await self._to_app.send({"type": f"lifespan.{phase}"})
            await self._answered.wait()
        if scope.cancelled_caught:
            _log.error("the application took longer than %g s for its %s", LIFESPAN_SECONDS, phase)
            self.failure = LifespanError(f"the application's {phase} took longer than {LIFESPAN_SECONDS:g} s")

    async def _send(self, message: Message) -> None:
        await trio.lowlevel.checkpoint()
        if message["type"].endswith(".failed"):
            text = str(message.get("message", ""))
            _log.error("the application answered %s: %s", message["type"], text)
            self.failure = LifespanError(text or message["type"])
        self._answered.set()
