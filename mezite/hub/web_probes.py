# SPDX-License-Identifier: Apache-2.0
"""What passes through a load balancer to the hub's web port: HTTP, large headers, WebSockets, silence."""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Sequence

import attrs
import trio

from mezite.core.diagnosis import StepFailedError
from mezite.hub.probe_line import Line
from mezite.net.diagnosis_walk import Probe, nothing_to_do
from mezite.net.http1_client import Http1ClientError, Response, request
from mezite.services.self_probes import PROBE_HEADER

__all__ = ["WebProbes"]

PING = "/v1/webapi/ping"
TUNNEL = "/v1/tunnel"

FILLER_KIB = (4, 8, 16, 32, 64)
"""Sizes of the header that are tried. Cookies of single sign-on reach 8 KiB; the hub itself takes less than 64."""

NEEDED_KIB = 4
"""A session cookie with the headers that browsers and balancers add."""

MAX_HEAD = 32 * 1024
MAX_SILENCE_SECONDS = 8
"""A hub ends a WebSocket for tunnels in which no handshake begins within ten seconds."""

UPGRADE_HINT = (
    "let the load balancer pass on WebSockets: HTTP/1.1 to the hub with the Upgrade and Connection headers (nginx: "
    'proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade")'
)


@attrs.define(eq=False)
class WebProbes:
    """The steps behind TLS on the web port."""

    line: Line
    idle_seconds: int
    _socket: trio.abc.Stream | None = None

    def steps(self) -> Sequence[tuple[str, Probe]]:
        """In the order in which they build upon each other."""
        return (
            ("web: HTTP", self.ask),
            ("web: client address", self.line.judge_address),
            ("web: largest header", self.find_largest_header),
            ("web: WebSocket", self.upgrade),
            ("web: idle", self.stay_idle),
        )

    async def aclose(self) -> None:
        """Close what was left open."""
        if self._socket is not None:
            await trio.aclose_forcefully(self._socket)

    async def ask(self) -> str:
        """Whether a request reaches a hub."""
        response = await self._get(self.line.take(), [])
        try:
            cluster = json.loads(response.body)["cluster_name"]
        except (ValueError, KeyError, TypeError):
            raise StepFailedError(
                f"status {response.status}, and no answer of a hub",
                f"let the load balancer forward {self.line.hop.address} to the hub's web port (3080)",
            ) from None
        return f"cluster {cluster}"

    async def find_largest_header(self) -> str:
        """How large a header may be."""
        passed, refusal = 0, ""
        for size in FILLER_KIB:
            try:
                stream = await self.line.open()
                response = await self._get(stream, [("x-filler", "x" * (size * 1024 - 512))])
            except (StepFailedError, trio.BrokenResourceError) as error:
                refusal = str(error)
                break
            if response.status != 200:
                refusal = f"status {response.status}"
                break
            passed = size
        if passed < NEEDED_KIB:
            raise StepFailedError(
                f"a header of {FILLER_KIB[0]} KiB does not pass: {refusal}",
                "let the load balancer take larger headers (nginx: large_client_header_buffers 4 16k)",
            )
        return f"{passed} KiB pass" + (f", more do not: {refusal}" if refusal else "")

    async def upgrade(self) -> str:
        """Whether a WebSocket comes about."""
        key = base64.b64encode(secrets.token_bytes(16)).decode()
        stream = await self.line.open()
        try:
            status = await self._switch(stream, key)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        if status == "101":
            self._socket = stream
            return "101, switched"
        await trio.aclose_forcefully(stream)
        if status == "501":
            raise nothing_to_do("this hub serves no WebSockets")
        raise StepFailedError(f"the upgrade is answered with {status or 'nothing'}", UPGRADE_HINT)

    async def _switch(self, stream: trio.abc.Stream, key: str) -> str:
        """Ask for a WebSocket; returns the status of the answer, empty when there is none."""
        await stream.send_all(
            f"GET {TUNNEL} HTTP/1.1\r\nHost: {self.line.hop.address}\r\nConnection: Upgrade\r\n"
            f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
        )
        head = b""
        while b"\r\n\r\n" not in head and len(head) < MAX_HEAD:
            data = await stream.receive_some(MAX_HEAD)
            if not data:
                break
            head += data
        words = head.partition(b"\r\n")[0].split(b" ")
        return words[1].decode("ascii", "replace") if len(words) > 1 else ""

    async def stay_idle(self) -> str:
        """Whether silence is borne."""
        stream = self._socket
        if stream is None:
            raise nothing_to_do("there is no WebSocket to leave idle")
        seconds = min(self.idle_seconds, MAX_SILENCE_SECONDS)
        with trio.move_on_after(seconds):
            begin = trio.current_time()
            while await stream.receive_some(4096):
                pass
            lasted = trio.current_time() - begin
            raise StepFailedError(
                f"the WebSocket was closed after {lasted:.1f} s of silence",
                "raise the idle time of the load balancer (nginx: proxy_read_timeout; HAProxy: timeout tunnel)",
            )
        return f"{seconds} s of silence are borne"

    async def _get(self, stream: trio.abc.Stream, headers: list[tuple[str, str]]) -> Response:
        fields = [("connection", "close"), (PROBE_HEADER, self.line.inside), *headers]
        try:
            return await request(stream, "GET", PING, fields, host=self.line.hop.address)
        except Http1ClientError as error:
            raise StepFailedError(str(error), "let the load balancer forward HTTP/1.1 to the hub") from error
        finally:
            await trio.aclose_forcefully(stream)
