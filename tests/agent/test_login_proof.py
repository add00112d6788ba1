# SPDX-License-Identifier: Apache-2.0
"""The agent's side of a second factor: what the person is asked, and that the hub alone decides (threat E8)."""

from __future__ import annotations

import pytest

from mezite.agent.hub_api import HubApi
from mezite.agent.login_proof import ATTEMPTS, LoginProof
from mezite.api.client import RpcError, StatusCode
from mezite.api.pb.mezite.v1 import session_proofs_pb2 as pb
from mezite.ssh.policy import Refusal, SshGrant
from tests.agent.fake_api import FakeClient

GRANT = SshGrant(user="alice", login="ubuntu", certificate_id="7", needs_proof=True)
PENDING = pb.PendingProof(
    needed=True,
    id="1f",
    url="https://hub.example.com/approve#1f",
    code="BCDF-GHJK",
    factors=["totp", "webauthn"],
    needs="any",
)
WRONG = RpcError(StatusCode.UNAUTHENTICATED, "the code is wrong")
AWAY = RpcError(StatusCode.UNAVAILABLE, "the hub is away")


class Person:
    """Types what it was given; remembers what it was asked."""

    session_id = b"\xab" * 32

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, str]] = []

    async def ask(self, text: str, prompt: str = "") -> str:
        self.asked.append((text, prompt))
        return self.answers.pop(0) if prompt else ""


class Hub:
    """Answers each call with the next of what was prepared for it."""

    def __init__(self, pending: pb.PendingProof | RpcError = PENDING, **states: list[object]) -> None:
        self.prepared = {"BeginLoginProof": [pending], **states}

    def __call__(self, name, _request):
        answer = self.prepared[name].pop(0)
        if isinstance(answer, RpcError):
            raise answer
        return pb.ProofState(state=answer) if isinstance(answer, str) else answer


async def prove(hub: Hub, person: Person) -> tuple[Refusal | None, FakeClient]:
    client = FakeClient(hub)
    api = HubApi()
    api.attach(client)
    return await LoginProof(api, "c-1").prove(GRANT, person), client


async def test_a_code() -> None:
    person = Person("123 456")
    refusal, client = await prove(Hub(AnswerLoginProof=["proven"]), person)
    assert refusal is None
    ((text, prompt),) = person.asked
    assert "https://hub.example.com/approve#1f" in text
    assert "BCDF-GHJK" in text
    assert "Enter to wait for the browser" in prompt
    (_, begun), (_, answered) = client.calls
    assert (begun.connection_id, begun.login, begun.certificate_serial) == ("c-1", "ubuntu", "7")
    assert begun.ssh_session_id == "ab" * 32
    assert (answered.id, answered.totp, answered.login) == ("1f", "123456", begun)


async def test_enter_waits_for_the_browser() -> None:
    refusal, client = await prove(Hub(AwaitLoginProof=["pending", "pending", "proven"]), Person(" "))
    assert refusal is None
    assert client.names == ["BeginLoginProof", *["AwaitLoginProof"] * 3]


async def test_who_has_only_a_key_is_not_asked_for_a_code() -> None:
    only_key = pb.PendingProof(
        needed=True, id="1f", url="u", code="c", factors=["webauthn"], needs="webauthn"
    )
    person = Person()
    refusal, _client = await prove(Hub(only_key, AwaitLoginProof=["proven"]), person)
    assert refusal is None
    assert [prompt for _text, prompt in person.asked] == [""]


async def test_wrong_codes() -> None:
    person = Person("1", "2", "3")
    refusal, client = await prove(Hub(AnswerLoginProof=[WRONG] * ATTEMPTS), person)
    assert refusal == Refusal(message="the code is wrong")
    assert len(client.calls) == 1 + ATTEMPTS
    assert [text for text, _prompt in person.asked[1:]] == ["the code is wrong"] * (ATTEMPTS - 1)
    refusal, _client = await prove(Hub(AnswerLoginProof=[WRONG, "proven"]), Person("1", "2"))
    assert refusal is None


async def test_nothing_has_to_be_shown_after_all() -> None:
    refusal, _client = await prove(Hub(pb.PendingProof(needed=False)), Person())
    assert refusal is None


@pytest.mark.parametrize(
    ("hub", "text"),
    [
        (Hub(AWAY), "the hub is away"),
        (Hub(AnswerLoginProof=[AWAY]), "the hub is away"),
        (Hub(AnswerLoginProof=["expired"]), "no second factor was shown in time: connect again"),
    ],
)
async def test_no_is_no(hub: Hub, text: str) -> None:
    refusal, _client = await prove(hub, Person("123456"))
    assert refusal == Refusal(message=text)


@pytest.mark.parametrize(
    ("state", "text"), [("refused", "was refused in the browser"), ("expired", "in time")]
)
async def test_no_in_the_browser(state: str, text: str) -> None:
    refusal, _client = await prove(Hub(AwaitLoginProof=[state]), Person(""))
    assert refusal is not None
    assert text in refusal.message
