# SPDX-License-Identifier: Apache-2.0
"""What may follow a good certificate: questions to the person, by keyboard-interactive (RFC 4256).

The transport's thread has verified the certificate and told the client that it is half way (partial success). The
questions are asked from Trio, where their asker may take its time; the thread goes on reading, so a client that leaves
is noticed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

import attrs
import trio

from mezite.ssh.policy import Refusal, SshGrant
from mezite.ssh.wire import boolean, string, uint32

__all__ = ["InfoResponse", "LoginDialogue", "ProofWanted", "Prove", "SendQuestion"]

INFO_REQUEST = 60
ANSWER_CHARACTERS = 64
"""The longest answer that is looked at; codes have six digits."""


@attrs.frozen
class ProofWanted:
    """The certificate is good, and the client is ready for questions."""

    grant: SshGrant
    session_id: bytes
    """The exchange hash of this connection, which is like no other's (RFC 4253 section 7.2)."""


@attrs.frozen
class InfoResponse:
    """What the person has typed; empty when nothing was asked."""

    answers: tuple[str, ...]


class SendQuestion(Protocol):
    """How a question reaches the client."""

    def __call__(self, payload: bytes, *, prompts: int) -> None: ...


class LoginDialogue:
    """The questions of one connection, one at a time."""

    def __init__(self, session_id: bytes, send: SendQuestion) -> None:
        self.session_id = session_id
        self._send = send
        self._answers_in, self._answers_out = trio.open_memory_channel[InfoResponse](1)

    async def ask(self, text: str, prompt: str = "") -> str:
        """Show `text`, and ask with `prompt` if there is one; return what was typed, which is not shown.

        Without a prompt clients answer at once; an answer that is too long is none.
        """
        prompts = [prompt] if prompt else []
        payload = bytes((INFO_REQUEST,)) + string("") + string(text) + string("") + uint32(len(prompts))
        payload += b"".join(string(each) + boolean(False) for each in prompts)
        self._send(payload, prompts=len(prompts))
        response = await self._answers_out.receive()
        answer = "".join(response.answers)
        return answer if len(answer) <= ANSWER_CHARACTERS else ""

    def answered(self, response: InfoResponse) -> None:
        """The client's answer; there is one for each question."""
        self._answers_in.send_nowait(response)


Prove = Callable[[SshGrant, LoginDialogue], Awaitable[Refusal | None]]
"""Asks for what is missing; None when it was shown."""
