# SPDX-License-Identifier: Apache-2.0
"""A gRPC client that asks for HTTP/2 in its first call."""

from __future__ import annotations

import h2.config
import h2.connection
import h2.events
import trio

from mezite.api.rpc import StatusCode
from mezite.core.grpc.message_framing import frame_message

SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\n"


class UpgradedCall:
    """A call that asks for HTTP/2 in HTTP/1.1, and others behind it."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(header_encoding="utf-8"))

    async def first(self, path: str, message: bytes, token: str = "") -> StatusCode:
        settings = self.h2.initiate_upgrade_connection()
        assert settings is not None
        body = frame_message(message)
        lines = [
            f"POST {path} HTTP/1.1",
            "Host: hub",
            "Connection: Upgrade, HTTP2-Settings",
            "Upgrade: h2c",
            f"HTTP2-Settings: {settings.decode()}",
            "Content-Type: application/grpc",
            "TE: trailers",
            f"Content-Length: {len(body)}",
            *([f"Authorization: Bearer {token}"] if token else []),
        ]
        await self.stream.send_all("\r\n".join([*lines, "", ""]).encode() + body)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += await self.stream.receive_some(1)
        assert answer.startswith(SWITCHED), answer
        return await self.outcome(1)

    async def next(self, path: str, message: bytes, token: str = "") -> StatusCode:
        stream_id = self.h2.get_next_available_stream_id()
        fields = [
            (":method", "POST"),
            (":scheme", "http"),
            (":path", path),
            (":authority", "hub"),
            ("content-type", "application/grpc"),
            ("te", "trailers"),
        ]
        if token:
            fields.append(("authorization", f"Bearer {token}"))
        self.h2.send_headers(stream_id, fields)
        self.h2.send_data(stream_id, frame_message(message), end_stream=True)
        return await self.outcome(stream_id)

    async def outcome(self, stream_id: int) -> StatusCode:
        """OK as soon as a message comes back: some of the public methods stream for ever."""
        while True:
            await self.stream.send_all(self.h2.data_to_send())
            for event in self.h2.receive_data(bytes(await self.stream.receive_some())):
                if getattr(event, "stream_id", None) != stream_id:
                    continue
                if isinstance(event, h2.events.DataReceived):
                    return StatusCode.OK
                if isinstance(event, h2.events.ResponseReceived | h2.events.TrailersReceived):
                    status = dict(event.headers).get("grpc-status")
                    if status is not None:
                        return StatusCode(int(status))
