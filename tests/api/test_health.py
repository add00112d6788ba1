# SPDX-License-Identifier: Apache-2.0
import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from mezite.api.health import HealthService
from mezite.api.pb.grpc.health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from mezite.api.server import LONGEST_PUBLIC_SECONDS, RpcError, StatusCode
from mezite.net.http2_limits import Http2Limits
from tests.api.echo_service import connected, make_server

CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"


async def test_check_needs_no_credential():
    health = HealthService(["test.Echo"])
    async with connected(make_server(health.methods()), token=None) as client:

        async def status(service):
            return (
                await client.unary(CHECK, HealthCheckRequest(service=service), HealthCheckResponse)
            ).status

        assert await status("") == await status("test.Echo") == HealthCheckResponse.SERVING
        health.set_serving(False, "test.Echo")
        assert await status("test.Echo") == HealthCheckResponse.NOT_SERVING
        assert await status("") == HealthCheckResponse.SERVING
        with pytest.raises(RpcError) as caught:
            await status("nope")
        assert caught.value.status is StatusCode.NOT_FOUND


async def test_watch_tells_the_present_and_each_change():
    health = HealthService()
    async with (
        connected(make_server(health.methods()), token=None) as client,
        client.server_stream(WATCH, HealthCheckRequest(), HealthCheckResponse) as call,
    ):
        assert (await call.receive()).status == HealthCheckResponse.SERVING
        health.set_serving(True)
        await wait_all_tasks_blocked()
        health.set_serving(False)
        assert (await call.receive()).status == HealthCheckResponse.NOT_SERVING


async def test_watching_an_unknown_service():
    health = HealthService()
    async with (
        connected(make_server(health.methods()), token=None) as client,
        client.server_stream(WATCH, HealthCheckRequest(service="x"), HealthCheckResponse) as call,
    ):
        assert (await call.receive()).status == HealthCheckResponse.SERVICE_UNKNOWN
        health.set_serving(False)
        await wait_all_tasks_blocked()


async def test_who_watches_without_a_credential_is_let_go_after_a_while(autojump_clock):
    """Threat D14: one call, and then silence, is not worth a place for ever; those who watch ask again."""
    health = HealthService()
    async with (
        connected(make_server(health.methods()), token=None) as client,
        client.server_stream(WATCH, HealthCheckRequest(), HealthCheckResponse) as call,
    ):
        begin = trio.current_time()
        assert (await call.receive()).status == HealthCheckResponse.SERVING
        with pytest.raises(RpcError) as caught:
            await call.receive()
        assert caught.value.status is StatusCode.DEADLINE_EXCEEDED
        assert trio.current_time() - begin == LONGEST_PUBLIC_SECONDS
        await trio.sleep(Http2Limits().idle + 1)
        with pytest.raises(RpcError):
            await client.unary(CHECK, HealthCheckRequest(), HealthCheckResponse)


def test_only_services_that_were_named():
    with pytest.raises(KeyError):
        HealthService().set_serving(False, "x")
