# SPDX-License-Identifier: Apache-2.0
"""mezctl against a hub: what it prints, what it refuses, and how it finds its way."""

from __future__ import annotations

import itertools
import json
import time
from pathlib import Path

import pytest
import yaml

from mezite.api.rpc import RpcError, StatusCode
from mezite.cli.hub_client.hub_connection import failure_of
from mezite.cli.hub_client.profile_store import ProfileStore
from mezite.cli.hub_client.web_client import WebClient, trusting
from mezite.cli.terminal.errors import run_command
from tests.cli.commands import HubInThread, run
from tests.hub.live_hub import PASSWORD

USER_KEYS = [
    "name",
    "roles",
    "traits",
    "created_at",
    "updated_at",
    "has_password",
    "disabled",
    "connector",
    "mfa",
]
TOKEN_KEYS = ["id", "roles", "labels", "created_by", "created_at", "expires_at", "used_at", "used_by"]
NODE_KEYS = [
    "name",
    "status",
    "labels",
    "logins",
    "agent_id",
    "version",
    "last_seen",
    "hub_id",
    "lock_reason",
]
_numbers = itertools.count(1)


def fresh(prefix: str = "user") -> str:
    return f"{prefix}{next(_numbers)}"


def roots(hub: HubInThread) -> tuple[bytes, ...]:
    return tuple(pem.encode() for pem in hub.hub.hub.ground.authorities.host_tls_ca_pem)


# --- login ---------------------------------------------------------------------------------------------------


def test_login_prints_the_token_and_nothing_else(hub: HubInThread) -> None:
    for arguments, stdin in (
        (["--username=root", f"--password={PASSWORD}"], ""),
        (["--username=root", "--password-stdin"], f"{PASSWORD}\n"),
        (["--user=root", "--password-stdin"], PASSWORD),
    ):
        result = run("mezctl", *hub.where, "login", *arguments, stdin=stdin)
        assert (result.code, result.err) == (0, "")
        token = result.out.removesuffix("\n")
        assert token.isalnum()
        assert hub.mezctl("users", "ls", MEZITE_AUTH_TOKEN=token).code == 0


def test_login_takes_the_address_behind_the_command_too(hub: HubInThread) -> None:
    server, pin = hub.where
    result = run("mezctl", pin, "login", server, "--username=root", environ={"MEZITE_PASSWORD": PASSWORD})
    assert (result.code, result.err) == (0, "")


def test_a_wrong_password(hub: HubInThread) -> None:
    result = run("mezctl", *hub.where, "login", "--username=root", "--password-stdin", stdin="wrong")
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("error: wrong user name or password")
    assert result.err.count("\n") == 1


def test_nobody_to_ask_for_a_password(hub: HubInThread) -> None:
    result = run("mezctl", *hub.where, "login", "--username=root")
    assert result.code == 2
    assert result.err == (
        "error: no password: standard input is not a terminal; use --password-stdin or MEZITE_PASSWORD\n"
    )


# --- finding the hub -----------------------------------------------------------------------------------------


def test_not_logged_in(tmp_path: Path) -> None:
    result = run("mezctl", "users", "ls", environ={"MSH_HOME": str(tmp_path)})
    assert result.code == 1
    assert result.err == (
        "error: not logged in: there is no token and no profile; "
        "run mezctl login and set MEZITE_AUTH_TOKEN, or msh login\n"
    )


def test_the_profile_of_msh_login_will_do(hub: HubInThread, tmp_path: Path) -> None:
    """It knows the hub's address and its CA as well."""
    hub.sign_in(tmp_path, "boss", roles=("admin",))
    result = run("mezctl", "users", "get", "boss", "--format=json", environ={"MSH_HOME": str(tmp_path)})
    assert (result.code, result.err) == (0, "")
    assert result.json["name"] == "boss"


def test_a_profile_that_has_expired(hub: HubInThread, tmp_path: Path) -> None:
    ProfileStore(tmp_path).save(*hub.hub.profile("boss", ("admin",), ("ubuntu",), ttl_seconds=-200))
    environ = {"MSH_HOME": str(tmp_path)}
    result = run("mezctl", "users", "ls", environ=environ)
    assert result.code == 1
    assert result.err.startswith("error: your certificate for test expired 3m2")
    assert "; run msh login --proxy=" in result.err
    login = run("mezctl", *hub.where, "login", "--username=root", f"--password={PASSWORD}", environ=environ)
    assert login.code == 0, "an old certificate must not keep anybody from logging in"


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (["--auth-server=a:b:c"], 2, "--auth-server cannot be read"),
        (["--auth-server=127.0.0.1:1"], 1, "cannot connect to 127.0.0.1:1"),
        (["--ca-pin=sha256:12"], 2, "--ca-pin cannot be used"),
        (["--ca-file=/nonexistent"], 1, "cannot read /nonexistent: No such file or directory; give a file"),
        (["--ca-file=/etc/hostname"], 1, "cannot use /etc/hostname: it holds no certificate; give a file"),
    ],
)
def test_an_address_or_trust_that_is_no_good(
    hub: HubInThread, options: list[str], code: int, text: str
) -> None:
    result = run("mezctl", f"--auth-server={hub.hub.address('auth')}", *options, "--token=t", "users", "ls")
    assert result.code == code
    assert result.err.startswith(f"error: {text}")
    assert result.err.count("\n") == 1


def test_the_wrong_hub_and_no_trust_at_all(hub: HubInThread) -> None:
    address = f"--auth-server={hub.hub.address('auth')}"
    wrong = run("mezctl", address, f"--ca-pin=sha256:{'0' * 64}", "--token=t", "users", "ls")
    assert wrong.code == 1
    assert "is not the one that the CA pin names" in wrong.err
    nothing = run("mezctl", address, "--token=t", "users", "ls")
    assert nothing.code == 1
    assert "give --ca-pin with what `mezhub ca-pin` prints on the hub" in nothing.err


def test_further_roots(hub: HubInThread, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_bytes(b"".join(roots(hub)))
    port = hub.hub.address("auth").rpartition(":")[2]
    hub.mezctl("users", "ls")
    arguments = [f"--auth-server=localhost:{port}", f"--ca-file={file}", f"--token={hub.session}"]
    assert run("mezctl", *arguments, "users", "ls").code == 0


def test_a_session_that_is_unknown(hub: HubInThread) -> None:
    result = hub.mezctl("users", "ls", MEZITE_AUTH_TOKEN="f" * 64)
    assert result.code == 1
    assert result.err.startswith("error: the session is unknown or has ended: log in again")


def test_who_may_not(hub: HubInThread) -> None:
    name = fresh()
    hub.mezctl("users", "create", name, "--roles=auditor", "--password-stdin", stdin=PASSWORD)
    token = run("mezctl", *hub.where, "login", f"--username={name}", f"--password={PASSWORD}").out.strip()
    result = hub.mezctl("users", "ls", MEZITE_AUTH_TOKEN=token)
    assert result.code == 1
    assert "(event " in result.err


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (RpcError(StatusCode.NOT_FOUND, "node x: not found"), "node x: not found"),
        (RpcError(StatusCode.UNAVAILABLE, ""), "unavailable; is the hub running and reachable?"),
        (
            RpcError(StatusCode.UNAUTHENTICATED, "no credential"),
            "no credential; log in again with mezctl login or msh login",
        ),
        (RpcError(StatusCode.INTERNAL, "oops"), "oops"),
    ],
)
def test_what_the_hub_says_is_said_as_ours(error: RpcError, text: str) -> None:
    failure = failure_of(error)
    assert "; ".join(part for part in (failure.what, failure.hint) if part) == text


# --- users ---------------------------------------------------------------------------------------------------


def test_users_from_creation_to_deletion(hub: HubInThread) -> None:
    name = fresh()
    created = hub.mezctl(
        "users",
        "create",
        name,
        "--roles=access,auditor",
        "--traits=logins=ubuntu,deploy",
        "--traits=team=blue",
        "--password-stdin",
        stdin=PASSWORD,
    )
    assert (created.code, created.out) == (0, f"user {name} created\n")
    got = hub.mezctl("users", "get", name, "--format=json")
    assert list(got.json) == USER_KEYS
    assert got.json["roles"] == ["access", "auditor"]
    assert got.json["traits"] == {"logins": ["ubuntu", "deploy"], "team": ["blue"]}
    assert got.json["has_password"] is True
    assert yaml.safe_load(hub.mezctl("users", "get", name, "--format=yaml").out) == got.json
    updated = hub.mezctl("users", "update", name, "--roles=access", "--format=json")
    assert updated.json["roles"] == ["access"]
    assert updated.json["traits"] == got.json["traits"], "what is not named stays"
    assert "logins=ops" in hub.mezctl("users", "update", name, "--traits=logins=ops").out
    for word in ("ls", "list"):
        rows = hub.mezctl("users", word, "--format=json").json
        assert name in [row["name"] for row in rows]
        assert list(rows[0]) == USER_KEYS
    text = hub.mezctl("users", "ls").out
    assert text.splitlines()[0].split() == ["Name", "Roles", "Traits", "Connector", "Created"]
    deleted = hub.mezctl("users", "delete", name)
    assert (deleted.code, deleted.out) == (0, f"user {name} deleted\n")
    missing = hub.mezctl("users", "get", name)
    assert missing.code == 1
    assert missing.err.startswith(f"error: user {name} does not exist: ")


@pytest.mark.parametrize("word", ["delete", "rm"])
@pytest.mark.parametrize("spelling", ["{}", "--username={}"])
def test_both_spellings_of_deleting(hub: HubInThread, word: str, spelling: str) -> None:
    name = fresh()
    assert hub.mezctl("users", "create", name, "--roles=access", "--password=" + PASSWORD).code == 0
    assert hub.mezctl("users", word, spelling.format(name)).out == f"user {name} deleted\n"


@pytest.mark.parametrize("arguments", [[], ["a", "--username=b"]])
def test_one_user_has_to_be_named(hub: HubInThread, arguments: list[str]) -> None:
    result = hub.mezctl("users", "delete", *arguments)
    assert result.code == 2
    assert result.err.startswith("error: name one user, as an argument or with --username; see mezctl users")


def test_without_a_password_there_is_an_invite_that_works_once(hub: HubInThread) -> None:
    name = fresh()
    created = hub.mezctl("users", "create", name, "--roles=access")
    assert created.code == 0
    first, second, url = created.out.splitlines()
    assert first == f"user {name} created"
    assert second.startswith("invite (valid until 2")
    base, _, token = url.partition("#")
    assert base == f"https://{hub.hub.address('web')}/invite"
    web = WebClient(address=hub.hub.address("web"), context=trusting(roots(hub)))

    async def accept() -> dict[str, object]:
        return await web.post("/v1/webapi/invites/accept", {"token": token, "password": PASSWORD})

    assert run_command(accept) == {"user": name}
    login = run("mezctl", *hub.where, "login", f"--username={name}", "--password-stdin", stdin=PASSWORD)
    assert login.code == 0
    with pytest.raises(Exception, match="invite"):
        run_command(accept)


def test_an_invite_in_json(hub: HubInThread) -> None:
    created = hub.mezctl("users", "create", fresh(), "--roles=access", "--format=json")
    assert list(created.json) == [*USER_KEYS, "invite_url", "invite_expires_at"]
    assert created.json["has_password"] is False


def test_the_environments_password_is_for_login_only(hub: HubInThread) -> None:
    """`MEZITE_PASSWORD` is the administrator's own: it must not become somebody else's."""
    created = hub.mezctl(
        "users", "create", fresh(), "--roles=access", "--format=json", MEZITE_PASSWORD=PASSWORD
    )
    assert created.json["has_password"] is False


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["create", "x"], 2, "missing option '--roles'; see mezctl users create --help"),
        (["create", "x", "--roles=access", "--traits=broken"], 2, "trait 'broken' cannot be read; write"),
        (["create", "x", "--roles=access", "--traits= =a"], 2, "trait ' =a' cannot be read; write"),
        (["create", "../x", "--roles=access"], 1, "user name '../x' "),
        (["create", "y", "--roles=wizard"], 1, "role"),
        (["create", "z", "--roles=access", "--password=short"], 1, "the password"),
        (["create", "z", "--roles=access", "--password="], 2, "the password is empty"),
        (["update", "root"], 2, "nothing to change; give --roles, --traits or --password-stdin"),
        (["update", "nosuch", "--roles=access"], 1, "user nosuch does not exist"),
        (["creat"], 2, "no command 'creat'; did you mean create?"),
        (["ls", "--format=xml"], 2, "invalid value for '--format'"),
    ],
)
def test_users_that_are_refused(hub: HubInThread, arguments: list[str], code: int, text: str) -> None:
    result = hub.mezctl("users", *arguments)
    assert (result.code, result.out) == (code, ""), result.err
    assert result.err.startswith(f"error: {text}"), result.err
    assert result.err.count("\n") == 1


# --- tokens --------------------------------------------------------------------------------------------------


def test_a_token_stands_alone_on_its_line(hub: HubInThread) -> None:
    result = hub.mezctl("tokens", "create", "--roles=node", "--ttl=1h")
    assert (result.code, result.err) == (0, "")
    secret, _, pin = result.out.removesuffix("\n").partition(".")
    assert secret.startswith("mzt_")
    assert f"sha256:{pin}" == hub.hub.pin


@pytest.mark.parametrize("word", ["rm", "delete"])
def test_tokens_from_creation_to_removal(hub: HubInThread, word: str) -> None:
    created = hub.mezctl("tokens", "create", "--labels=env=prod,team=blue", "--ttl=30m", "--format=json").json
    assert list(created) == ["token", *TOKEN_KEYS]
    assert created["labels"] == {"env": "prod", "team": "blue"}
    assert (created["created_by"], created["used_at"], created["used_by"]) == ("root", None, None)
    for spelling in ("ls", "list"):
        rows = hub.mezctl("tokens", spelling, "--format=json").json
        assert created["id"] in [row["id"] for row in rows]
        assert list(rows[0]) == TOKEN_KEYS
    assert created["token"] not in hub.mezctl("tokens", "ls", "--format=yaml").out
    removed = hub.mezctl("tokens", word, created["id"])
    assert (removed.code, removed.out) == (0, f"join token {created['id']} removed\n")
    again = hub.mezctl("tokens", word, created["id"])
    assert again.code == 1
    assert again.err.startswith("error: ")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--ttl=soon"], "--ttl cannot be read"),
        (["--ttl=-1h"], "--ttl cannot be read"),
        (["--labels=env"], "--labels cannot be read"),
        (["--labels=a=1,a=2"], "--labels cannot be read"),
    ],
)
def test_tokens_that_cannot_be_read(hub: HubInThread, arguments: list[str], text: str) -> None:
    result = hub.mezctl("tokens", "create", *arguments)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(f"error: {text}")


def test_tokens_that_the_hub_refuses(hub: HubInThread) -> None:
    result = hub.mezctl("tokens", "create", "--roles=admin")
    assert (result.code, result.out) == (1, "")
    assert "role" in result.err


# --- nodes ---------------------------------------------------------------------------------------------------


def test_nodes(hub: HubInThread) -> None:
    name = fresh("node")
    enrolled = hub.do(hub.hub.enroll, name)
    for word in ("ls", "list"):
        rows = hub.mezctl("nodes", word, "--format=json").json
        (row,) = [row for row in rows if row["name"] == name]
        assert list(row) == NODE_KEYS
        assert (row["status"], row["labels"], row["logins"]) == ("offline", {"env": "prod"}, ["ubuntu"])
        assert row["agent_id"] == enrolled.identity.agent_id
    assert hub.mezctl("nodes", "get", name, "--format=json").json == row
    assert name in hub.mezctl("nodes", "ls", "--labels=env=prod", f"--search={name}").out
    assert hub.mezctl("nodes", "ls", "--labels=env=test", "--format=json").json == []
    assert hub.mezctl("nodes", "ls", "--labels=env").err.startswith("error: --labels cannot be read")
    assert hub.mezctl("nodes", "ls", "--labels=env").code == 2
    assert hub.mezctl("nodes", "rm", name).out == f"node {name} removed\n"
    for arguments in (["get", name], ["delete", name]):
        missing = hub.mezctl("nodes", *arguments)
        assert missing.code == 1
        assert missing.err.startswith(f"error: node {name}: not found")


# --- audit ---------------------------------------------------------------------------------------------------


def test_the_audit_log(hub: HubInThread) -> None:
    name = fresh()
    hub.mezctl("users", "create", name, "--roles=access", "--password=" + PASSWORD)
    events = hub.mezctl("audit", "ls", "--type=user.created", "--format=json").json
    assert events[0]["resource_name"] == name
    assert {event["event_type"] for event in events} == {"user.created"}
    assert hub.mezctl("audit", "ls", "--user=nobody", "--format=json").json == []
    assert len(hub.mezctl("audit", "list", "--limit=1", "--format=json").json) == 1
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60))
    assert hub.mezctl("audit", "ls", f"--since={now}", "--format=json").json == []
    assert hub.mezctl("audit", "ls", f"--until={now}", "--since=10m", "--format=json").json != []
    assert hub.mezctl("audit", "ls").out.splitlines()[0].split()[:3] == ["Time", "Event", "User"]
    assert json.loads(hub.mezctl("audit", "ls", "--limit=2", "--format=json").out)


@pytest.mark.parametrize("option", ["--since", "--until"])
def test_a_time_that_cannot_be_read(hub: HubInThread, option: str) -> None:
    result = hub.mezctl("audit", "ls", f"{option}=yesterday")
    assert result.code == 2
    assert result.err.startswith(f"error: {option} cannot be read: ")
    assert result.err.endswith("; write a duration such as 10m or a time\n")


def test_limits_of_a_listing(hub: HubInThread) -> None:
    assert hub.mezctl("audit", "ls", "--limit=0").code == 2
    assert hub.mezctl("audit", "ls", "--limit=1001").code == 2
