# SPDX-License-Identifier: Apache-2.0
"""An API client that answers from memory."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio
from google.protobuf.message import Message

from mezite.api.client import RpcError


@attrs.define(eq=False)
class FakeClient:
    """Remembers the calls; `answer` makes the responses, or raises RpcError."""

    answer: Callable[[str, Message], Message | None] = lambda _name, _request: None
    is_usable: bool = True
    calls: list[tuple[str, Message]] = attrs.field(factory=list)
    times: list[float] = attrs.field(factory=list)

    async def unary(self, method: str, request: Message, response_type: type[Message]) -> Message:
        await trio.lowlevel.checkpoint()
        name = method.rpartition("/")[2]
        self.calls.append((name, request))
        self.times.append(trio.current_time())
        return self.answer(name, request) or response_type()

    @property
    def names(self) -> list[str]:
        return [name for name, _request in self.calls]


def refusing(error: RpcError) -> Callable[[str, Message], Message]:
    def answer(_name: str, _request: Message) -> Message:
        raise error

    return answer
