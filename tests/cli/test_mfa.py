# SPDX-License-Identifier: Apache-2.0
"""Second factors from the command line: adding, showing and losing them, and logging in with them."""

from __future__ import annotations

import base64
import itertools
import os
import pty
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import attrs
import pytest

from mezite.cli.hub_client.second_factor import code_field, needed_factors, needed_proofs
from mezite.cli.msh.mfa import qr_code
from mezite.cli.terminal.errors import CliError
from mezite.core.totp import STEP_SECONDS, totp_code
from mezite.services.factors.fresh_proof import Proof
from mezite.storage.web_sessions import WebSessionKind
from tests.cli.commands import HubInThread, Result
from tests.cli.mezhub.test_demo import clean_environment
from tests.hub.live_hub import PASSWORD

CLIENT = "192.0.2.7:1"
_numbers = itertools.count(1)


@attrs.define
class Somebody:
    """A user with a password and, mostly, an authenticator app; time goes on only where a step is asked for."""

    hub: HubInThread
    name: str
    home: Path
    secret: bytes = b""
    recovery_codes: tuple[str, ...] = ()
    step: int = 0

    def code(self) -> str:
        """A code that was not used yet: this step's, or the next one's, which is good as well."""
        now = time.time_ns() // 1_000_000_000 // STEP_SECONDS
        self.step = max(self.step + 1, now)
        return totp_code(self.secret, self.step)

    def login(self, *options: str, password: str = PASSWORD, **environ: str) -> Result:
        where = ("--proxy", self.hub.hub.address("web"), "--ca-pin", self.hub.hub.pin)
        return self.msh(
            "login", *where, f"--user={self.name}", "--password-stdin", *options, stdin=password, **environ
        )

    def msh(self, *arguments: str, stdin: str = "", **environ: str) -> Result:
        return self.hub.msh(self.home, *arguments, stdin=stdin, **environ)

    def mezctl_login(self, *options: str, **environ: str) -> Result:
        arguments = ("login", f"--username={self.name}", "--password-stdin", *options)
        return self.hub.mezctl(*arguments, stdin=PASSWORD, **environ)


async def create(hub: HubInThread, name: str) -> None:
    await hub.hub.hub.ground.accounts.create(
        name, roles=("access",), traits={"logins": ("ubuntu",)}, password=PASSWORD, by="test"
    )


async def enrol(hub: HubInThread, who: Somebody) -> None:
    """As the browser would."""
    ground, services = hub.hub.hub.ground, hub.hub.hub.services
    user = await ground.login.check_password(who.name, PASSWORD, client_address=CLIENT)
    started = await ground.login.start(user, None, client_address=CLIENT, kind=WebSessionKind.API)
    identity = await services.authenticator.by_session(started.token.reveal())
    begun = await services.factors.own.begin_totp(identity, Proof(password=PASSWORD), client_address=CLIENT)
    who.secret = base64.b32decode(begun.secret.reveal())
    who.step = time.time_ns() // 1_000_000_000 // STEP_SECONDS
    enrolled = await services.factors.own.finish_totp(
        identity, begun.challenge_id.reveal(), totp_code(who.secret, who.step), "", client_address=CLIENT
    )
    who.recovery_codes = tuple(code.reveal() for code in enrolled.recovery_codes)


@pytest.fixture
def somebody(hub: HubInThread, tmp_path: Path) -> Somebody:
    who = Somebody(hub, f"mfa{next(_numbers)}", tmp_path)
    hub.do(create, hub, who.name)
    return who


@pytest.fixture
def protected(somebody: Somebody) -> Somebody:
    somebody.hub.do(enrol, somebody.hub, somebody)
    return somebody


def typed(
    arguments: list[str], answers: list[tuple[bytes, Callable[[bytes], str]]], home: Path
) -> tuple[int, str]:
    """Run msh in a terminal and answer its prompts; the exit code and all that was seen."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "mezite.cli.msh", *arguments],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
        env=clean_environment() | {"MSH_HOME": str(home), "TERM": "dumb"},
    )
    os.close(follower)
    seen = b""
    for prompt, answer in answers:
        while not seen.endswith(prompt):
            seen += os.read(leader, 1)
        os.write(leader, answer(seen).encode() + b"\n")
    try:
        while chunk := os.read(leader, 4096):
            seen += chunk
    except OSError:
        pass  # Linux says so when the last one has closed the other end.
    os.close(leader)
    return process.wait(30), seen.decode()


def test_msh_login_with_a_code(protected: Somebody) -> None:
    result = protected.login("--mfa-code", protected.code())
    assert result.code == 0, result.err
    assert protected.msh("status").code == 0


def test_a_code_from_the_environment(protected: Somebody) -> None:
    result = protected.login(MEZITE_MFA_CODE=protected.recovery_codes[0])
    assert result.code == 0, result.err


def test_nobody_there_to_ask(protected: Somebody) -> None:
    for result in (protected.login(), protected.mezctl_login()):
        assert (result.code, result.out) == (2, "")
        assert result.err == (
            "error: a second factor is needed: standard input is not a terminal; "
            "give --mfa-code or MEZITE_MFA_CODE\n"
        )


def test_a_wrong_code(protected: Somebody) -> None:
    for result in (protected.login("--mfa-code=000000"), protected.mezctl_login("--mfa-code=abcd-efgh")):
        assert (result.code, result.out) == (1, "")
        assert result.err.startswith("error: wrong user name, password or code")


def test_mezctl_login_prints_only_the_token(protected: Somebody) -> None:
    for code in (protected.code(), protected.recovery_codes[1]):
        result = protected.mezctl_login("--mfa-code", code)
        assert result.code == 0, result.err
        assert re.fullmatch(r"[0-9a-f]{64}\n", result.out)


def test_msh_asks_for_the_code(protected: Somebody) -> None:
    where = ["--proxy", protected.hub.hub.address("web"), "--ca-pin", protected.hub.hub.pin]
    code, seen = typed(
        ["login", *where, f"--user={protected.name}"],
        [
            (b": ", lambda _seen: PASSWORD),
            (b"recovery code: ", lambda _seen: protected.code()),
        ],
        protected.home,
    )
    assert code == 0, seen
    assert f"logged in to test as {protected.name}" in seen
    assert PASSWORD not in seen


def test_adding_an_app_in_a_terminal(somebody: Somebody) -> None:
    assert somebody.login().code == 0

    def code_of(seen: bytes) -> str:
        uri = re.search(rb"otpauth://\S+", seen)
        assert uri is not None
        (secret,) = parse_qs(urlsplit(uri.group().decode()).query)["secret"]
        somebody.secret = base64.b32decode(secret)
        code = somebody.code()
        # As authenticators show it.
        return f"{code[:3]} {code[3:]}"

    code, seen = typed(
        ["mfa", "add", "--name=old telephone"],
        [(b"Your password: ", lambda _seen: PASSWORD), (b"now: ", code_of)],
        somebody.home,
    )
    assert code == 0, seen
    assert "▄" in seen
    assert "added old telephone" in seen
    codes = re.findall(r"^  ([a-z2-7]{4}(?:-[a-z2-7]{4}){3})\r?$", seen, re.M)
    assert len(codes) == 10
    listed = somebody.msh("mfa", "ls", "--format=json").json
    assert [(each["type"], each["name"]) for each in listed] == [("totp", "old telephone")]
    assert set(listed[0]) == {"id", "type", "name", "created_at", "last_used_at"}
    assert somebody.login(f"--mfa-code={codes[0]}").code == 0


def test_adding_a_key_is_for_the_browser(somebody: Somebody) -> None:
    assert somebody.login().code == 0
    result = somebody.msh("mfa", "add", "--type=webauthn")
    assert result.code == 0, result.err
    assert re.search(r"^https://\S+/account/factors$", result.out, re.M)


def test_an_app_is_not_added_where_nobody_types(somebody: Somebody) -> None:
    assert somebody.login().code == 0
    result = somebody.msh("mfa", "add", "--password-stdin", stdin=PASSWORD)
    assert result.code == 1
    assert (
        "error: the app was not added: its first code has to be typed, and standard input has ended"
        in result.err
    )
    assert somebody.msh("mfa", "ls", "--format=json").json == []


def test_removing_needs_a_code(protected: Somebody) -> None:
    assert protected.login("--mfa-code", protected.code()).code == 0
    (factor,) = protected.msh("mfa", "ls", "--format=json").json
    assert "10 recovery codes left" in protected.msh("mfa", "ls").err
    asked = protected.msh("mfa", "rm", factor["id"])
    assert (asked.code, "a second factor is needed" in asked.err) == (2, True)
    wrong = protected.msh("mfa", "rm", factor["id"], "--mfa-code=000000")
    assert (wrong.code, "wrong" in wrong.err) == (1, True)
    missing = protected.msh("mfa", "rm", "nothing", "--mfa-code=000000")
    assert (missing.code, "msh mfa ls" in missing.err) == (1, True)
    codes = protected.msh("mfa", "recovery-codes", "--mfa-code", protected.recovery_codes[0], "--format=json")
    assert len(codes.json["codes"]) == 10
    text = protected.msh("mfa", "recovery-codes", "--mfa-code", codes.json["codes"][0])
    assert len(re.findall(r"^  \S{19}$", text.out, re.M)) == 10
    again = re.findall(r"^  (\S{19})$", text.out, re.M)
    removed = protected.msh("mfa", "rm", factor["id"], "--mfa-code", again[0])
    assert (removed.code, removed.out) == (0, f"removed {factor['id']}\n")
    assert protected.msh("mfa", "ls", "--format=json").json == []
    assert protected.login().code == 0


def test_a_user_from_a_connector_logs_in_again(hub: HubInThread, tmp_path: Path) -> None:
    hub.sign_in(tmp_path, f"mfa{next(_numbers)}")
    result = hub.msh(tmp_path, "mfa", "add")
    assert (result.code, "log in again" in result.err) == (1, True)


def test_administrators_help_out(protected: Somebody) -> None:
    hub, name = protected.hub, protected.name
    mfa = {"totp": 1, "webauthn": 0, "recovery_codes": 10}
    assert hub.mezctl("users", "get", name, "--format=json").json["mfa"] == mfa
    (row,) = hub.mezctl("users", "list-mfa", name, "--format=json").json
    assert (row["type"], row["last_used_at"]) == ("totp", None)
    assert "10 recovery codes left" in hub.mezctl("users", "list-mfa", name).err
    reset = hub.mezctl("users", "reset-totp", name)
    assert (reset.code, reset.out) == (0, f"removed 1 authenticator apps of {name}\n")
    assert hub.mezctl("users", "reset-webauthn", name).out == f"removed 0 security keys of {name}\n"
    assert hub.mezctl("users", "get", name, "--format=json").json["mfa"]["totp"] == 0
    assert protected.login().code == 0
    for kind in ("totp", "webauthn"):
        told = hub.mezctl("users", "add-mfa", name, f"--type={kind}")
        assert told.code == 0, told.err
        assert told.out.splitlines()[-1].endswith("/account/factors")
        record = hub.mezctl("users", "add-mfa", name, f"--type={kind}", "--format=json").json
        assert (record["user"], record["type"]) == (name, kind)
    unknown = hub.mezctl("users", "list-mfa", "nobody-of-that-name")
    assert (unknown.code, "does not exist" in unknown.err) == (1, True)


def test_passwd(somebody: Somebody) -> None:
    assert somebody.login().code == 0
    new = "an entirely new password"
    short = somebody.msh("passwd", "--password-stdin", stdin=f"{PASSWORD}\nshort\n")
    assert (short.code, "at least 12" in short.err) == (1, True)
    wrong = somebody.msh("passwd", "--password-stdin", stdin=f"{new}\n{new}\n")
    assert (wrong.code, "wrong" in wrong.err) == (1, True)
    changed = somebody.msh("passwd", "--password-stdin", stdin=f"{PASSWORD}\n{new}\n")
    assert (changed.code, changed.err) == (0, "password changed\n")
    assert somebody.login().code == 1
    assert somebody.login(password=new).code == 0


def test_passwd_with_a_second_factor(protected: Somebody) -> None:
    """Threat E8: a certificate and the password are not enough."""
    new, lines = "another horse battery", f"{PASSWORD}\nanother horse battery\n"
    assert protected.login(f"--mfa-code={protected.code()}").code == 0
    asked = protected.msh("passwd", "--password-stdin", stdin=lines)
    assert asked.code == 2
    assert "give --mfa-code or MEZITE_MFA_CODE" in asked.err
    changed = protected.msh(
        "passwd", "--password-stdin", f"--mfa-code={protected.recovery_codes[0]}", stdin=lines
    )
    assert changed.code == 0, changed.err
    assert protected.login(f"--mfa-code={protected.recovery_codes[1]}", password=new).code == 0


@pytest.mark.parametrize("stdin", ["", "one\n", "one\n\n", "one\ntwo\nthree\n"])
def test_passwd_with_other_lines(somebody: Somebody, stdin: str) -> None:
    result = somebody.msh("passwd", "--password-stdin", stdin=stdin)
    assert (result.code, "a line each" in result.err) == (2, True)


def test_passwd_without_a_terminal(somebody: Somebody) -> None:
    assert somebody.login().code == 0
    result = somebody.msh("passwd", MEZITE_PASSWORD=PASSWORD)
    assert (result.code, "a line each" in result.err) == (2, True)


def test_passwd_in_a_terminal(somebody: Somebody) -> None:
    assert somebody.login().code == 0
    new = "an entirely new password"
    code, seen = typed(
        ["passwd"],
        [
            (b"Old password: ", lambda _seen: PASSWORD),
            (b"New password: ", lambda _seen: new),
            (b"confirmation: ", lambda _seen: new),
        ],
        somebody.home,
    )
    assert code == 0, seen
    assert new not in seen
    assert somebody.login(password=new).code == 0


@pytest.mark.parametrize(
    ("code", "field"),
    [
        ("", {}),
        (" ", {}),
        ("123456", {"totp": "123456"}),
        ("123 456", {"totp": "123456"}),
        ("12345", {"recovery_code": "12345"}),
        ("abcd-efgh-ijkl-mnop", {"recovery_code": "abcd-efgh-ijkl-mnop"}),
    ],
)
def test_what_was_typed(code: str, field: dict[str, str]) -> None:
    assert code_field(code) == field


def test_what_the_hub_asks_for() -> None:
    asked = CliError("x", details={"code": "mfa_required", "factors": ["totp", 7]})
    assert needed_factors(asked) == ["totp"]
    assert needed_proofs(asked) == ()
    assert needed_proofs(CliError("x", details={"code": "proof_required", "proofs": "totp,password"})) == [
        "totp",
        "password",
    ]
    assert needed_factors(CliError("x")) == ()
    assert needed_factors(CliError("x", details={"code": "mfa_required", "factors": 7})) == ()


def test_a_qr_code_is_square() -> None:
    rows = qr_code("otpauth://totp/test:alice?secret=GEZDGNBVGY3TQOJQ").splitlines()
    assert {len(row) for row in rows} == {len(rows[0])}
    assert abs(len(rows[0]) - 2 * len(rows)) <= 1
