# SPDX-License-Identifier: Apache-2.0
"""`mezctl locks` against a hub."""

from __future__ import annotations

import pytest

from tests.cli.commands import HubInThread, run
from tests.hub.live_hub import PASSWORD

LOCK_KEYS = [
    "id",
    "target",
    "name",
    "message",
    "created_by",
    "created_at",
    "expires_at",
    "sessions_cut",
    "connections_cut",
    "slowest_ms",
]


def test_the_life_of_a_lock(hub: HubInThread) -> None:
    """A locked user is told why by whatever they try, until the lock is lifted."""
    hub.do(
        hub.hub.hub.ground.accounts.create, "lina", roles=("access",), traits={}, password=PASSWORD, by="test"
    )
    login = run("mezctl", *hub.where, "login", "--username=lina", f"--password={PASSWORD}")
    made = hub.mezctl("locks", "create", "--user=lina", "--message=lost laptop", "--ttl=1h", "--format=json")
    assert (made.code, list(made.json)) == (0, LOCK_KEYS), made.err
    assert made.json["expires_at"] is not None
    told = hub.mezctl("nodes", "ls", MEZITE_AUTH_TOKEN=login.out.strip())
    assert told.code == 1
    assert told.err == f"error: user lina is locked (lock {made.json['id']}): lost laptop\n"
    (listed,) = hub.mezctl("locks", "ls", "--format=json").json
    assert listed == made.json
    lifted = hub.mezctl("locks", "rm", made.json["id"])
    assert (lifted.code, lifted.out) == (0, f"lock {made.json['id']} lifted\n")
    assert hub.mezctl("nodes", "ls", MEZITE_AUTH_TOKEN=login.out.strip()).code == 0
    again = hub.mezctl("locks", "rm", made.json["id"])
    assert again.code == 1
    assert "does not exist" in again.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--message=why",),
        ("--user=a", "--role=b", "--message=why"),
        ("--user=a",),
        ("--user=a", "--message=why", "--ttl=5"),
    ],
)
def test_wrong_usage(hub: HubInThread, arguments: tuple[str, ...]) -> None:
    result = hub.mezctl("locks", "create", *arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith("error: ")


def test_oneself(hub: HubInThread) -> None:
    result = hub.mezctl("locks", "create", "--role=admin", "--message=why")
    assert result.code == 1
    assert "would lock you out yourself" in result.err


def test_no_sessions(hub: HubInThread) -> None:
    assert hub.mezctl("sessions", "ls", "--format=json").json == []
    for arguments in (("get", "s-1"), ("kill", "s-1", "--reason=odd")):
        result = hub.mezctl("sessions", *arguments)
        assert (result.code, result.out) == (1, "")
        assert "session s-1 does not exist" in result.err
