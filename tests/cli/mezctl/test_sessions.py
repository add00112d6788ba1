# SPDX-License-Identifier: Apache-2.0
"""`mezctl sessions` about logins: found by their user, ended by their id."""

from __future__ import annotations

from tests.cli.commands import HubInThread, run
from tests.hub.live_hub import PASSWORD


def test_logins(hub: HubInThread) -> None:
    hub.do(
        hub.hub.hub.ground.accounts.create, "sven", roles=("access",), traits={}, password=PASSWORD, by="test"
    )
    token = run("mezctl", *hub.where, "login", "--username=sven", f"--password={PASSWORD}").out.strip()
    (listed,) = hub.mezctl("sessions", "ls", "--logins", "--user=sven", "--format=json").json
    assert list(listed) == ["id", "user", "kind", "host", "client_ip", "started_at", "expires_at"]
    assert (listed["user"], listed["kind"], listed["host"]) == ("sven", "api", None)
    assert listed["id"] in hub.mezctl("sessions", "ls", "--logins").out
    ended = hub.mezctl("sessions", "revoke", listed["id"])
    assert (ended.code, ended.out) == (0, f"session {listed['id']} of sven has ended\n")
    told = hub.mezctl("nodes", "ls", MEZITE_AUTH_TOKEN=token)
    assert (told.code, "log in again" in told.err) == (1, True)
    again = hub.mezctl("sessions", "revoke", listed["id"])
    assert (again.code, "`mezctl sessions ls --logins` shows those that do" in again.err) == (1, True)


def test_the_user_is_one_of_logins(hub: HubInThread) -> None:
    assert hub.mezctl("sessions", "ls", "--user=sven").code == 2
    assert hub.mezctl("sessions", "ls", "--format=json").json == []
