# SPDX-License-Identifier: Apache-2.0
"""`msh request` and `mezctl requests` against a hub: asking, approving, using, giving up."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest

from mezite.cli.hub_client.granted_access import loaded_profile, warn_of_end
from mezite.cli.hub_client.profile_store import ProfileStore
from mezite.cli.hub_client.user_certificate import UserCertificate
from mezite.core.rbac.role_document import role_document
from mezite.core.rbac.role_options import RoleOptions
from mezite.core.rbac.roles import Conditions, Role
from tests.cli.commands import HubInThread, Result
from tests.hub.live_hub import PASSWORD

NODE = "granted-1"
ROLE = Role(
    name="may-ask",
    options=RoleOptions(max_session_ttl=7200),
    allow=Conditions(
        request_roles=("auditor",), request_resources={"nodes": (NODE,)}, logins=("{{internal.logins}}",)
    ),
)


@pytest.fixture(scope="module")
def office(hub: HubInThread, tmp_path_factory: pytest.TempPathFactory) -> HubInThread:
    path = tmp_path_factory.mktemp("roles") / "role.yaml"
    path.write_text(json.dumps(role_document(ROLE)))
    assert hub.mezctl("roles", "create", f"--from-file={path}").code == 0
    hub.start_echo(NODE)
    return hub


@pytest.fixture
def home(office: HubInThread, tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """Where a user of this test's own is signed in."""
    name = request.node.originalname.replace("_", "-")[:40]
    office.sign_in(tmp_path, name, roles=("may-ask",))
    return tmp_path


def ask(hub: HubInThread, home: Path, *options: str) -> str:
    """The id of a new request."""
    made = hub.msh(home, "request", "create", "--reason=incident 4711", "--format=json", *options)
    assert made.code == 0, made.err
    return str(made.json["id"])


def nodes(hub: HubInThread, home: Path) -> list[str]:
    return [node["name"] for node in hub.msh(home, "ls", "--format=json").json]


def status(hub: HubInThread, home: Path) -> Result:
    return hub.msh(home, "status", "--format=json")


def test_from_asking_to_giving_up(office: HubInThread, home: Path) -> None:
    assert nodes(office, home) == []
    ordinary = status(office, home).json
    identifier = ask(office, home, f"--nodes={NODE}", "--roles=auditor", "--ttl=1h")
    early = office.msh(home, "request", "use", identifier)
    assert (early.code, early.err.splitlines()[0]) == (
        1,
        f"error: request {identifier} cannot be used: it is not an approved one of yours; "
        "`msh request ls` shows their states",
    )
    listed = office.mezctl("requests", "ls", "--state=pending", "--format=json").json
    (mine,) = [row for row in listed if row["id"] == identifier]
    assert (mine["roles"], mine["nodes"], mine["ttl"], mine["reason"]) == (
        ["auditor"],
        [NODE],
        "1h",
        "incident 4711",
    )
    approved = office.mezctl("requests", "approve", identifier, "--reason=go")
    assert approved.out == f"request {identifier} is approved\n"
    used = office.msh(home, "request", "use", identifier)
    assert used.code == 0, used.err
    assert "  roles   may-ask, auditor" in used.err
    assert nodes(office, home) == [NODE]
    now = status(office, home).json
    assert now["requests"] == [identifier]
    assert now["roles"] == ["may-ask", "auditor"]
    assert office.msh(home, "request", "ls", "--format=json").json[0]["state"] == "approved"
    dropped = office.msh(home, "request", "drop", identifier)
    assert dropped.out == f"request {identifier} is revoked\n"
    assert nodes(office, home) == []
    assert status(office, home).json == ordinary


def test_what_is_in_use_stays_in_use(office: HubInThread, home: Path) -> None:
    """A second request joins the first; an extension takes its place."""
    first, second = ask(office, home, "--roles=auditor", "--ttl=30m"), ask(office, home, f"--nodes={NODE}")
    for identifier in (first, second):
        assert office.mezctl("requests", "approve", identifier).code == 0
        assert office.msh(home, "request", "use", identifier).code == 0
    assert set(status(office, home).json["requests"]) == {first, second}
    before = status(office, home).json["expires_at"]
    longer = office.msh(home, "request", "extend", first, "--reason=not done", "--ttl=20m", "--format=json")
    assert longer.code == 0, longer.err
    third = longer.json["id"]
    assert longer.json["extends"] == first
    assert office.mezctl("requests", "approve", third).code == 0
    assert office.msh(home, "request", "use", third).code == 0
    assert set(status(office, home).json["requests"]) == {second, third}
    assert status(office, home).json["expires_at"] > before
    assert office.msh(home, "request", "drop", third).code == 0
    assert status(office, home).json["requests"] == [second]


def test_no(office: HubInThread, home: Path) -> None:
    identifier = ask(office, home, "--roles=auditor")
    without = office.mezctl("requests", "deny", identifier)
    assert (without.code, "--reason" in without.err) == (2, True)
    denied = office.mezctl("requests", "deny", identifier, "--reason=ask ops")
    assert denied.out == f"request {identifier} is denied\n"
    shown = office.mezctl("requests", "get", identifier, "--format=json").json
    assert (shown["state"], shown["closed_by"], shown["closing_reason"]) == ("denied", "root", "ask ops")
    assert shown["reviews"][0]["approves"] is False
    again = office.mezctl("requests", "revoke", identifier)
    assert (again.code, "is denied already" in again.err) == (1, True)


def test_revoked_by_an_administrator(office: HubInThread, home: Path) -> None:
    identifier = ask(office, home, f"--nodes={NODE}")
    office.mezctl("requests", "approve", identifier)
    office.msh(home, "request", "use", identifier)
    revoked = office.mezctl("requests", "revoke", identifier, "--reason=enough")
    assert revoked.out == f"request {identifier} is revoked\n"
    assert nodes(office, home) == []


def test_login_with_a_request(office: HubInThread, tmp_path: Path) -> None:
    traits = {"logins": ("ubuntu",)}
    create = office.hub.hub.ground.accounts.create
    office.do(create, "with-password", roles=("may-ask",), traits=traits, password=PASSWORD, by="test")
    where = ["--proxy", office.hub.address("web"), "--ca-pin", office.hub.pin, "--user=with-password"]

    def login(*options: str) -> Result:
        return office.msh(tmp_path, "login", *where, "--password-stdin", *options, stdin=PASSWORD)

    assert login().code == 0
    identifier = ask(office, tmp_path, "--roles=auditor")
    refused = login(f"--request-id={identifier}")
    assert (refused.code, "not an approved one of yours" in refused.err) == (1, True)
    office.mezctl("requests", "approve", identifier)
    granted = login(f"--request-id={identifier}")
    assert "  roles   may-ask, auditor" in granted.err
    assert status(office, tmp_path).json["requests"] == [identifier]


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (["create", "--reason=r"], 2, "nothing to ask for; give --roles or --nodes"),
        (["create", "--roles=auditor"], 2, "--reason"),
        (["create", "--roles=auditor", "--reason=r", "--ttl=soon"], 2, "--ttl cannot be read"),
        (["create", "--roles=admin", "--reason=r"], 1, "a role of yours must let you ask for it"),
        (["create", "--roles=auditor", "--reason=r", "--ttl=13h"], 1, "at most 12h"),
        (["extend", "nowhere", "--reason=r"], 1, "not an approved one of yours"),
        (["drop", "nowhere"], 1, "not found"),
    ],
)
def test_what_is_refused(
    office: HubInThread, tmp_path: Path, arguments: list[str], code: int, why: str
) -> None:
    user = f"refused-{abs(hash(tuple(arguments)))}"
    office.sign_in(tmp_path, user, roles=("may-ask",))
    result = office.msh(tmp_path, "request", *arguments)
    assert (result.code, why in result.err) == (code, True), result.err


def test_granted_certificates_that_have_run_out_give_way(office: HubInThread, home: Path) -> None:
    store = ProfileStore(home)
    current = store.current()
    profile = store.load(current)
    _, old = office.hub.profile(current.user, ("may-ask",), ("ubuntu",), ttl_seconds=-60)
    store.use_granted(current, attrs.evolve(profile, tls_certificate=old.tls_certificate))
    assert store.ordinary(current) == profile
    assert store.load(current) != profile
    assert loaded_profile(store, current) == profile
    assert not store.end_granted(current)
    store.use_granted(current, profile)
    store.forget(current)
    assert not store.user_directory(current.host, current.user).exists()


@pytest.mark.parametrize(("left", "said"), [(600, True), (601, False), (1, True), (0, False)])
def test_the_end_is_announced(capsys: pytest.CaptureFixture[str], left: int, said: bool) -> None:
    certificate = UserCertificate(roles=(), principals=(), valid_before=1000 + left, request_ids=("id-1",))
    warn_of_end(certificate, now=1000)
    assert ("`msh request extend id-1" in capsys.readouterr().err) is said
    warn_of_end(attrs.evolve(certificate, request_ids=()), now=1000)
    assert capsys.readouterr().err == ""
