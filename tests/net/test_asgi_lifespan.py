# SPDX-License-Identifier: Apache-2.0
import pytest
import quart_trio
import trio
import trio.testing

from mezite.net.asgi_lifespan import LifespanError, run_lifespan
from mezite.net.asgi_types import Receive, Scope, Send


async def test_a_quart_trio_application_is_started_and_stopped() -> None:
    app = quart_trio.QuartTrio(__name__)
    log: list[str] = []

    @app.before_serving
    async def start() -> None:
        log.append("start")

    @app.after_serving
    async def stop() -> None:
        log.append("stop")

    async with run_lifespan(app):
        log.append("body")
    assert log == ["start", "body", "stop"]


async def test_what_the_body_raises_comes_out_as_it_is_after_the_stop() -> None:
    app = quart_trio.QuartTrio(__name__)
    stopped: list[bool] = []

    @app.after_serving
    async def stop() -> None:
        stopped.append(True)

    with pytest.raises(KeyError):
        async with run_lifespan(app):
            raise KeyError("body")
    assert stopped == [True]


async def test_a_failed_start_is_an_error_with_its_reason() -> None:
    app = quart_trio.QuartTrio(__name__)

    @app.before_serving
    async def start() -> None:
        raise LookupError("no database")

    entered = False
    with pytest.raises(LifespanError, match="no database"):
        async with run_lifespan(app):
            entered = True
    assert not entered


async def returns_at_once(scope: Scope, receive: Receive, send: Send) -> None:
    pass


async def knows_no_lifespan(scope: Scope, receive: Receive, send: Send) -> None:
    raise NotImplementedError(scope["type"])


@pytest.mark.parametrize("app", [returns_at_once, knows_no_lifespan])
async def test_applications_without_lifespan_are_served(app: object) -> None:
    async with run_lifespan(app):  # type: ignore[arg-type]
        await trio.lowlevel.checkpoint()


async def test_an_application_that_hangs(autojump_clock: trio.testing.MockClock) -> None:
    async def hangs(scope: Scope, receive: Receive, send: Send) -> None:
        await trio.sleep_forever()

    with pytest.raises(LifespanError, match="longer than 60 s"):
        async with run_lifespan(hangs):
            pass


async def test_a_failed_stop_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fails_to_stop(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.failed", "message": "still busy"})

    async with run_lifespan(fails_to_stop):
        pass
    assert "still busy" in caplog.text


async def test_cancelling_ends_the_application_with_the_body() -> None:
    async def forever(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await trio.sleep_forever()

    with trio.CancelScope() as scope:
        async with run_lifespan(forever):
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
