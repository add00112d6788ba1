# SPDX-License-Identifier: Apache-2.0
"""`mezctl identities` and `mezd identity` against a hub."""

from __future__ import annotations

import logging
import os
import stat
from itertools import pairwise
from pathlib import Path

import pytest
from trio.testing import MockClock

from mezite.cli.mezd.identity import keep_renewed
from mezite.cli.mezd.machine_home import MachineHome
from mezite.cli.terminal.errors import CliError
from mezite.core.certificates.x509_issue import load_certificates
from mezite.net.dialer import DialError
from tests.cli.commands import HubInThread, Result, run

KEYS = [
    "name",
    "roles",
    "traits",
    "max_ttl",
    "generation",
    "renewed_at",
    "renewed_from",
    "token_expires_at",
    "created_by",
    "created_at",
]


def create(hub: HubInThread, name: str, *options: str) -> Result:
    return hub.mezctl("identities", "create", name, "--roles=access", "--traits=logins=deploy", *options)


def start(hub: HubInThread, folder: Path, *options: str, **environ: str) -> Result:
    """`mezd identity start --once`."""
    return run(
        "mezd",
        "identity",
        "start",
        "--once",
        f"--destination={folder}",
        f"--auth-server={hub.hub.address('auth')}",
        *options,
        environ=environ,
    )


def listed(hub: HubInThread, name: str) -> dict[str, object]:
    rows = hub.mezctl("identities", "ls", "--format=json").json
    (row,) = [row for row in rows if row["name"] == name]
    return dict(row)


def test_the_life_of_an_identity(hub: HubInThread, tmp_path: Path) -> None:
    made = create(hub, "ci-1", "--max-ttl=30m", "--ttl=10m", "--format=json")
    assert (made.code, list(made.json)) == (0, ["token", *KEYS]), made.err
    token_file = tmp_path / "token"
    token_file.write_text(f"{made.json['token']}\n")
    folder = tmp_path / "identity"
    began = start(hub, folder, f"--token-file={token_file}")
    assert (began.code, began.out) == (0, ""), began.err
    row = listed(hub, "ci-1")
    assert (row["max_ttl"], row["generation"], row["token_expires_at"]) == ("30m", 1, None)
    before = (folder / "key").read_bytes(), (folder / "key-cert.pub").read_bytes()
    again = start(hub, folder)
    assert again.code == 0, again.err
    assert '"identity renewed"' in again.err
    after = (folder / "key").read_bytes(), (folder / "key-cert.pub").read_bytes()
    assert (after[0] == before[0], after[1] == before[1]) == (True, False)
    assert listed(hub, "ci-1")["generation"] == 2
    assert hub.msh(folder, "ls").code == 0
    removed = hub.mezctl("identities", "rm", "ci-1")
    assert (removed.code, removed.out) == (0, "machine identity ci-1 removed\n")
    gone = start(hub, folder)
    assert (gone.code, gone.out) == (1, "")
    assert "user ci-1 is not known here" in gone.err


def test_only_the_owner_reads_the_files(hub: HubInThread, tmp_path: Path) -> None:
    token = create(hub, "ci-2").out.strip()
    folder = tmp_path / "identity"
    began = start(hub, folder, MEZITE_JOIN_TOKEN=token)
    assert began.code == 0, began.err
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path
    names = {path.name for path in folder.iterdir()}
    plain = {"key", "key-cert.pub", "tls.crt", "tls.key", "known_hosts", "ca.pem", "ssh_config"}
    assert names == plain | {"current", "127.0.0.1"}
    assert list(folder.rglob(".*")) == []
    assert "CertificateFile" in (folder / "ssh_config").read_text()


def test_a_copy_is_told_and_a_new_token_helps(hub: HubInThread, tmp_path: Path) -> None:
    """Threat B1."""
    folder, copy = tmp_path / "identity", tmp_path / "copy"
    assert start(hub, folder, MEZITE_JOIN_TOKEN=create(hub, "ci-3").out.strip()).code == 0
    copy.mkdir(mode=0o700)
    for source in folder.rglob("*"):
        target = copy / source.relative_to(folder)
        if source.is_symlink():
            target.symlink_to(source.readlink())
        elif source.is_dir():
            target.mkdir()
        else:
            target.write_bytes(source.read_bytes())
    for _ in range(2):
        assert start(hub, folder).code == 0
    told = start(hub, copy)
    assert told.code == 1
    assert "error: machine identity ci-3 is locked: its certificates are in use in two places" in told.err
    (lock,) = [one for one in hub.mezctl("locks", "ls", "--format=json").json if one["name"] == "ci-3"]
    assert (lock["target"], lock["created_by"]) == ("user", "mezhub")
    assert "is locked" in start(hub, folder).err
    assert hub.mezctl("locks", "rm", lock["id"]).code == 0
    token = hub.mezctl("identities", "token", "ci-3", "--ttl=5m").out.strip()
    assert start(hub, tmp_path / "fresh", MEZITE_JOIN_TOKEN=token).code == 0


def test_text_is_one_line_for_scripts_and_a_table(hub: HubInThread) -> None:
    made = create(hub, "ci-4")
    assert (made.code, made.err) == (0, "")
    assert made.out.startswith("mzt_")
    assert made.out.count("\n") == 1
    assert "ci-4" in hub.mezctl("identities", "list").out


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("create", "ci-9"), 2, "missing option '--roles'"),
        (("create", "ci-9", "--roles=access", "--max-ttl=5"), 2, "--max-ttl cannot be read: "),
        (("create", "ci-9", "--roles=access", "--ttl=x"), 2, "--ttl cannot be read: "),
        (("create", "ci-9", "--roles=access", "--traits=x"), 2, "trait 'x' cannot be read"),
        (
            ("create", "ci-9", "--roles=access", "--max-ttl=25h"),
            1,
            "the certificates of a machine identity live",
        ),
        (("create", "ci-9", "--roles=nothing"), 1, "role 'nothing' does not exist"),
        (("token", "ci-9"), 1, "machine identity ci-9 does not exist"),
        (("rm", "root"), 1, "machine identity root does not exist"),
    ],
)
def test_refused(hub: HubInThread, arguments: tuple[str, ...], code: int, text: str) -> None:
    result = hub.mezctl("identities", *arguments)
    assert (result.code, result.out) == (code, "")
    assert result.err.startswith(f"error: {text}"), result.err


def test_join_tokens_say_where_tokens_of_identities_come_from(hub: HubInThread) -> None:
    result = hub.mezctl("tokens", "create", "--roles=identity")
    assert (result.code, result.out) == (2, "")
    assert "mezctl identities create" in result.err


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        ((), 2, "there is no identity in {folder} yet: and there is no token; give --token-file"),
        (("--token=mzt_x",), 2, "the token cannot be used: "),
        (("--token-file=/nowhere",), 1, "cannot read /nowhere: "),
        (("--token={token}", "--ca-pin=x"), 2, "the token cannot be used: the CA pin"),
        (("--token={token}", "--auth-server="), 2, "the hub is not known; give its gRPC address"),
        (("--token={token}", "--auth-server=127.0.0.1:1"), 1, "cannot connect to 127.0.0.1:1: "),
        (("--token={token}",), 1, "127.0.0.1:"),
    ],
)
def test_starts_that_fail(
    hub: HubInThread, tmp_path: Path, options: tuple[str, ...], code: int, text: str
) -> None:
    token = f"mzt_{'A' * 43}.{'0' * 64}"
    filled = [option.format(token=token) for option in options]
    result = start(hub, tmp_path / "identity", *filled)
    assert (result.code, result.out) == (code, ""), result.err
    assert text.format(folder=tmp_path / "identity") in result.err
    assert not (tmp_path / "identity").exists()


def test_a_token_that_the_hub_does_not_know(hub: HubInThread, tmp_path: Path) -> None:
    token = f"mzt_{'A' * 43}.{hub.hub.hub.ground.authorities.host_pin}"
    result = start(hub, tmp_path / "identity", f"--token={token}")
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith(
        "error: the token is not known here, or has been used already: make a new one"
    )


# --- the loop -------------------------------------------------------------------------------------------------


@pytest.fixture
def home(hub: HubInThread, tmp_path: Path, request: pytest.FixtureRequest) -> MachineHome:
    """An identity whose certificate lives an hour."""
    folder = tmp_path / "identity"
    name = f"loop-{request.node.name[:20].replace('_', '-')}"
    began = start(hub, folder, MEZITE_JOIN_TOKEN=create(hub, name).out.strip())
    assert began.code == 0, began.err
    return MachineHome(folder)


class WallClock:
    """Goes with the mock clock, from the certificate's first second on."""

    def __init__(self, mock: MockClock, start: float) -> None:
        self.mock, self.start = mock, start - mock.current_time()

    def __call__(self) -> float:
        return self.start + self.mock.current_time()


async def test_renewed_at_a_third_and_given_up_at_the_end(
    home: MachineHome, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """A hub that is away is asked again, in never more than a minute, for as long as the certificate is good."""
    issued, end = home.lifetime()
    now, tries = WallClock(autojump_clock, issued), list[float]()

    async def away() -> None:
        tries.append(now() - issued)
        raise DialError("cannot connect to hub:3023", "refused", "is it running?")

    with (
        caplog.at_level(logging.ERROR, "mezite.identity"),
        pytest.raises(CliError, match=r"expired \d+s ago"),
    ):
        await keep_renewed(home, away, now=now, jitter=lambda: 0.99)
    assert tries[0] == pytest.approx((end - issued) / 3, abs=1)
    assert max(later - earlier for earlier, later in pairwise(tries)) <= 60
    assert tries[-1] > end - issued - 61
    assert "cannot connect to hub:3023" in str(vars(caplog.records[0])["reason"])


async def test_each_renewal_starts_the_clock_again(home: MachineHome, autojump_clock: MockClock) -> None:
    issued, end = home.lifetime()
    third = (end - issued) // 3
    now, tries = WallClock(autojump_clock, issued), list[float]()

    class Enough(Exception):
        pass

    async def renewed() -> None:
        tries.append(now() - issued)
        if len(tries) == 3:
            raise Enough
        # What a hub would do, seen from the wall clock: the same certificate again, issued now.
        now.start -= third

    with pytest.raises(Enough):
        await keep_renewed(home, renewed, now=now)
    assert tries == pytest.approx([third] * 3, abs=1)


def test_a_damaged_identity_says_which_file(home: MachineHome) -> None:
    certificate = home.folder / "tls.crt"
    assert len(load_certificates(certificate.read_bytes())) == 1
    os.truncate(certificate, 40)
    with pytest.raises(CliError, match=r"tls\.crt"):
        home.lifetime()
