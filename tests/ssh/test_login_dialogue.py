# SPDX-License-Identifier: Apache-2.0
"""A certificate that is not enough: stock ssh is asked, and let in or not (threat E8)."""

import trio

from mezite.ssh.limits import SshLimits
from mezite.ssh.login_dialogue import ANSWER_CHARACTERS, InfoResponse, LoginDialogue
from mezite.ssh.policy import Refusal
from tests.ssh.peers import Authority, asking, run, running_node

TEXT = "This session needs a second factor.\r\nOpen https://hub.example.com/approve#1f and compare BCDF-GHJK"


class Asker:
    """Asks for a code until it is right."""

    def __init__(self, code: str = "123456", prompt: str = "Code: ") -> None:
        self.code = code
        self.prompt = prompt
        self.session_ids: list[bytes] = []
        self.answers: list[str] = []

    async def __call__(self, grant, dialogue) -> Refusal | None:
        self.session_ids.append(dialogue.session_id)
        for _ in range(2):
            self.answers.append(await dialogue.ask(TEXT, self.prompt))
            if self.answers[-1] == self.code:
                return None
        return Refusal(message="the code is wrong")


def policy():
    policy = Authority().policy()
    policy.needs_proof = True
    return policy


async def ssh(server, folder, answer: str):
    return await run(
        server.command("echo in", options=("-o", "BatchMode=no", "-o", "NumberOfPasswordPrompts=3")),
        env=asking(folder, answer),
    )


async def test_asked_and_let_in(tmp_path, spawner):
    asker = Asker()
    async with running_node(tmp_path, spawner, policy=policy(), prove=asker) as server:
        done = await ssh(server, tmp_path, "123456")
        again = await ssh(server, tmp_path, "123456")
    assert (done.returncode, done.stdout) == (0, b"in\n")
    assert again.returncode == 0
    assert b"https://hub.example.com/approve#1f" in done.stderr
    assert "Code:" in (tmp_path / "asked").read_text()
    assert len(set(asker.session_ids)) == 2  # each connection's own


async def test_wrong_twice(tmp_path, spawner):
    asker = Asker()
    async with running_node(tmp_path, spawner, policy=policy(), prove=asker) as server:
        done = await ssh(server, tmp_path, "000000")
        await server.hooks.wait_for(lambda: server.hooks.refusals)
    assert done.returncode == 255
    assert b"the code is wrong" in done.stderr
    assert asker.answers == ["000000", "000000"]
    assert [refusal.message for refusal in server.hooks.refusals] == ["the code is wrong"]
    assert server.hooks.started == []


async def test_something_to_read_and_nothing_to_type(tmp_path, spawner):
    asker = Asker(code="", prompt="")
    async with running_node(tmp_path, spawner, policy=policy(), prove=asker) as server:
        done = await ssh(server, tmp_path, "never asked")
    assert done.returncode == 0
    assert not (tmp_path / "asked").exists()


async def test_a_client_that_cannot_be_asked(tmp_path, spawner):
    """BatchMode: ssh leaves out the method, and says so."""
    async with running_node(tmp_path, spawner, policy=policy(), prove=Asker()) as server:
        done = await server.ssh("true")
    assert done.returncode == 255
    assert b"Permission denied (keyboard-interactive)" in done.stderr


async def test_nobody_to_ask_is_no(tmp_path, spawner):
    async with running_node(tmp_path, spawner, policy=policy()) as server:
        done = await ssh(server, tmp_path, "123456")
    assert done.returncode == 255
    assert b"nobody here can ask" in done.stderr


async def test_an_asker_that_fails_is_no(tmp_path, spawner, caplog):
    async def fail(_grant, _dialogue):
        raise RuntimeError("broken")

    async with running_node(tmp_path, spawner, policy=policy(), prove=fail) as server:
        done = await ssh(server, tmp_path, "123456")
    assert done.returncode == 255
    assert "the dialogue failed" in caplog.text


async def test_a_client_that_leaves_ends_the_dialogue(tmp_path, spawner):
    reached, ended = trio.Event(), trio.Event()

    async def wait(_grant, _dialogue):
        reached.set()
        try:
            await trio.sleep_forever()
        finally:
            ended.set()

    async with (
        running_node(tmp_path, spawner, policy=policy(), prove=wait) as server,
        trio.open_nursery() as n,
    ):
        n.start_soon(ssh, server, tmp_path, "123456")
        with trio.fail_after(10):
            await reached.wait()
            n.cancel_scope.cancel()
    with trio.fail_after(10, shield=True):
        await ended.wait()


async def test_it_takes_as_long_as_it_may(tmp_path, spawner):
    async def wait(_grant, _dialogue):
        await trio.sleep_forever()

    limits = SshLimits(proof_seconds=0.05)
    async with running_node(tmp_path, spawner, policy=policy(), prove=wait, limits=limits) as server:
        done = await ssh(server, tmp_path, "123456")
    assert done.returncode == 255
    assert b"login took too long" in done.stderr


async def test_an_answer_that_is_too_long_is_none():
    sent = []

    def send(payload: bytes, *, prompts: int) -> None:
        sent.append((payload, prompts))
        dialogue.answered(response)

    dialogue = LoginDialogue(b"id", send)
    response = InfoResponse(("x" * ANSWER_CHARACTERS,))
    assert await dialogue.ask("text", "prompt") == "x" * ANSWER_CHARACTERS
    response = InfoResponse(("x" * (ANSWER_CHARACTERS + 1),))
    assert await dialogue.ask("text", "prompt") == ""
    response = InfoResponse(())
    assert await dialogue.ask("text") == ""
    assert [prompts for _payload, prompts in sent] == [1, 1, 0]
