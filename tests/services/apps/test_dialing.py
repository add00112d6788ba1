# SPDX-License-Identifier: Apache-2.0
"""Which agent dials an application, who is next when it fails, and what is said when nobody can."""

import attrs
import pytest
import trio
import trio.testing

from mezite.core.apps.app import App
from mezite.core.dial_order import FIRST_SECONDS
from mezite.core.mux.error_codes import ErrorCode
from mezite.services.apps.dialing import (
    ANSWER_SECONDS,
    MAX_ATTEMPTS,
    AllDialsFailedError,
    AppDialer,
    NoAgentsBoundError,
    NoAgentsConnectedError,
)
from mezite.services.errors import UnavailableError
from mezite.storage import agents
from tests.services.tunnels import connected, echo
from tests.services.world import CLIENT, START


def redis(*host_names, name="redis", uri="tcp://10.0.3.12:6379"):
    return App(name=name, uri=uri, protocol="tcp", agent_hostnames=host_names)


@attrs.define(eq=False)
class Node:
    """An agent that reaches applications, or says why not."""

    name: str
    why: str = ""
    code: ErrorCode = ErrorCode.UNREACHABLE
    headers: list = attrs.field(factory=list)

    async def serve(self, pending):
        self.headers.append(pending.header)
        if self.why:
            pending.reject(self.code, self.why)
        else:
            await echo(pending)

    @property
    def asked(self):
        return len(self.headers)


@pytest.fixture
def dialer(world):
    return AppDialer(database=world.database, registry=world.registry)


async def failure(dialer, app, error):
    with pytest.raises(error) as caught:
        await dialer.open(app)
    assert isinstance(caught.value, UnavailableError)
    return caught.value


async def agents_of(dialer, app, count):
    """Who served each of `count` connections, all open at once."""
    opened = [await dialer.open(app) for _ in range(count)]
    for connection in opened:
        await connection.stream.aclose()
    return [connection.agent for connection in opened]


async def test_a_stream_through_the_agent(world, dialer):
    agent, node = await world.agent("web-1"), Node("web-1")
    async with connected(world, agent, node.serve):
        connection = await dialer.open(redis("web-1"), user="alice", client_address=CLIENT, trace_id="t-1")
        assert (connection.agent, connection.agent_id) == ("web-1", agent.agent_id)
        await connection.stream.send_all(b"PING\r\n")
        assert await connection.stream.receive_some() == b"PING\r\n"
        await connection.stream.send_eof()
        assert await connection.stream.receive_some() == b""
    (header,) = node.headers
    assert (header.kind, header.target, dict(header.attributes)) == (
        "app",
        "10.0.3.12:6379",
        {"app": "redis"},
    )
    assert (header.user, header.client_address, header.trace_id) == ("alice", CLIENT, "t-1")
    assert 0 < header.deadline_ms < ANSWER_SECONDS * 1000, (
        "the agent's reason comes before the hub's patience ends"
    )


async def test_no_agents_at_all(dialer):
    error = await failure(dialer, redis(), NoAgentsBoundError)
    assert str(error) == (
        "application redis cannot be reached: it has no agents; an administrator binds one with "
        "`mezctl apps add-agent redis --agent-hostname=HOST`"
    )
    assert error.app == "redis"


async def test_none_of_the_agents_is_connected(world, dialer):
    await world.agent("web-1")
    one = await failure(dialer, redis("web-1"), NoAgentsConnectedError)
    assert str(one) == "application redis cannot be reached: its agent is offline (web-1)"
    many = await failure(dialer, redis("web-1", "b", "c", "d", "e"), NoAgentsConnectedError)
    assert str(many).endswith("its agents are offline (web-1, b, c and 2 more)")
    assert many.names == ("web-1", "b", "c", "d", "e")


async def test_a_locked_agent_is_not_asked(world, dialer):
    """Threat E14: though its tunnel is still up."""
    agent, node = await world.agent("web-1"), Node("web-1")
    async with connected(world, agent, node.serve):
        await world.database.write(agents.lock, agent_id=agent.agent_id, reason="lost laptop", now=START)
        await failure(dialer, redis("web-1"), NoAgentsConnectedError)
    assert node.asked == 0


async def test_an_agent_that_is_not_bound_is_not_asked(world, dialer):
    agent, node = await world.agent("web-1"), Node("web-1")
    async with connected(world, agent, node.serve):
        await failure(dialer, redis("web-2"), NoAgentsConnectedError)
    assert node.asked == 0


async def test_each_failure_is_named(world, dialer):
    first, second = (
        Node("web-1", "cannot connect to 10.0.3.12:6379: connection refused"),
        Node("web-2", "nope"),
    )
    async with (
        connected(world, await world.agent("web-1"), first.serve),
        connected(world, await world.agent("web-2"), second.serve),
    ):
        error = await failure(dialer, redis("web-1", "web-2"), AllDialsFailedError)
    text = str(error)
    assert text.startswith("application redis cannot be reached: agent web-")
    assert "agent web-1: cannot connect to 10.0.3.12:6379: connection refused" in text
    assert "agent web-2: nope" in text
    assert {each.agent for each in error.attempts} == {"web-1", "web-2"}


async def test_the_least_busy_agent_is_first_and_equals_take_turns(world, dialer):
    one, two = Node("web-1"), Node("web-2")
    async with (
        connected(world, await world.agent("web-1"), one.serve),
        connected(world, await world.agent("web-2"), two.serve),
    ):
        app = redis("web-1", "web-2")
        held = [await dialer.open(redis("web-1")) for _ in range(3)]
        assert await agents_of(dialer, app, 3) == ["web-2"] * 3
        for connection in held:
            await connection.stream.aclose()
        served = await agents_of(dialer, app, 20)
    assert (served.count("web-1"), served.count("web-2")) == (10, 10)


async def test_the_next_agent_when_one_fails_and_the_failing_one_is_left_alone_for_a_while(
    world, dialer, mock_clock
):
    broken, fine = Node("web-1", "cannot connect: connection refused"), Node("web-2")
    async with (
        connected(world, await world.agent("web-1"), broken.serve),
        connected(world, await world.agent("web-2"), fine.serve),
    ):
        app = redis("web-1", "web-2")
        assert await agents_of(dialer, app, 10) == ["web-2"] * 10
        assert broken.asked == 1
        mock_clock.jump(FIRST_SECONDS + 0.1)
        assert await agents_of(dialer, app, 10) == ["web-2"] * 10
        assert broken.asked == 2, "tried once again, by one of the ten"
        broken.why = ""
        mock_clock.jump(2 * FIRST_SECONDS + 0.1)
        assert (await agents_of(dialer, app, 4)).count("web-1") == 2


async def test_who_is_avoided_is_tried_when_nobody_else_is_left(world, dialer):
    node = Node("web-1", "connection refused")
    async with connected(world, await world.agent("web-1"), node.serve):
        for _ in range(3):
            await failure(dialer, redis("web-1"), AllDialsFailedError)
        node.why = ""
        assert await agents_of(dialer, redis("web-1"), 1) == ["web-1"]
    assert node.asked == 4


async def test_what_happens_to_one_application_is_not_held_against_another(world, dialer):
    node, other = Node("web-1", "connection refused"), Node("web-2")
    async with (
        connected(world, await world.agent("web-1"), node.serve),
        connected(world, await world.agent("web-2"), other.serve),
    ):
        await failure(dialer, redis("web-1"), AllDialsFailedError)
        node.why = ""
        wiki = redis("web-1", "web-2", name="wiki", uri="tcp://10.0.3.13:80")
        assert (await agents_of(dialer, wiki, 4)).count("web-1") == 2


async def test_a_busy_tunnel_is_passed_by_and_not_blamed(world, dialer):
    busy = Node("web-1", "too many channels wait", code=ErrorCode.BACKLOG_FULL)
    async with connected(world, await world.agent("web-1"), busy.serve):
        error = await failure(dialer, redis("web-1"), AllDialsFailedError)
        assert "agent web-1: too many channels wait" in str(error)
        fine = Node("web-2")
        async with connected(world, await world.agent("web-2"), fine.serve):
            busy.why = ""
            assert (await agents_of(dialer, redis("web-1", "web-2"), 4)).count("web-1") == 2


async def test_a_refusal_without_words(world, dialer):
    async def refuse(pending):
        pending.reject(ErrorCode.REFUSED, "")

    async with connected(world, await world.agent("web-1"), refuse):
        error = await failure(dialer, redis("web-1"), AllDialsFailedError)
    assert str(error).endswith("agent web-1: refused")


async def test_an_agent_that_does_not_answer(world, dialer, mock_clock):
    asked = trio.Event()

    async def silent(_pending):
        asked.set()
        await trio.sleep_forever()

    async def turn():
        await asked.wait()
        # A second at a time, so that the tunnel's own pings are answered in between.
        while True:
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(1)

    async with connected(world, await world.agent("web-1"), silent), trio.open_nursery() as nursery:
        nursery.start_soon(turn)
        error = await failure(dialer, redis("web-1"), AllDialsFailedError)
        nursery.cancel_scope.cancel()
    assert f"agent web-1: no answer within {ANSWER_SECONDS} s" in str(error)


async def test_a_tunnel_that_breaks_while_dialling(world, dialer):
    pairs = []

    async def serve(_pending):
        await pairs[0].streams[0].aclose()

    async with connected(world, await world.agent("web-1"), serve) as pair:
        pairs.append(pair)
        error = await failure(dialer, redis("web-1"), AllDialsFailedError)
    assert str(error).endswith("agent web-1: its tunnel just broke")


async def test_only_so_many_are_tried(world, dialer):
    names = tuple(f"web-{number}" for number in range(MAX_ATTEMPTS + 2))
    nodes = [Node(name, "connection refused") for name in names]
    async with trio.open_nursery() as nursery:

        async def hold(node, *, task_status):
            async with connected(world, await world.agent(node.name), node.serve):
                task_status.started()
                await trio.sleep_forever()

        for node in nodes:
            await nursery.start(hold, node)
        error = await failure(dialer, redis(*names), AllDialsFailedError)
        nursery.cancel_scope.cancel()
    assert len(error.attempts) == sum(node.asked for node in nodes) == MAX_ATTEMPTS
