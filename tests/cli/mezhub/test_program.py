# SPDX-License-Identifier: Apache-2.0
"""mezhub's commands on the hub's own machine, and what signals do to a hub."""

from __future__ import annotations

import json
import logging
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
import trio

from mezite.cli.mezhub.start import _Control
from mezite.storage import users
from mezite.storage.database import Database
from tests.cli.commands import Result, run
from tests.e2e.harness import Daemon, clean_environment, program
from tests.hub.keypairs import certificate, ecdsa_key, key_pem, write_pair
from tests.hub.live_hub import PASSWORD, fill


def write_config(folder: Path, **changes: object) -> Path:
    """YAML is a superset of JSON."""
    path = folder / "hub.yaml"
    anywhere = "127.0.0.1:0"
    settings = {
        "cluster_name": "test",
        "data_dir": str(folder / "hub"),
        "log": {"format": "json"},
        "auth": {"listen_addr": anywhere},
        "proxy": {
            "listen_addr": anywhere,
            "ssh_listen_addr": anywhere,
            "tunnel_listen_addr": anywhere,
        },
        "diag": {"listen_addr": anywhere},
    }
    path.write_text(json.dumps({**settings, **changes}))
    return path


def prepared(folder: Path, **changes: object) -> Path:
    """A hub that exists already, which is quicker than a new one."""
    trio.run(fill, folder / "hub")
    return write_config(folder, **changes)


# --- bootstrap -----------------------------------------------------------------------------------------------


def bootstrap(config: Path, *options: str, stdin: str = "", **environ: str) -> Result:
    return run("mezhub", "bootstrap", "--config", str(config), *options, stdin=stdin, environ=environ)


def test_bootstrap_makes_the_first_administrator_once(tmp_path: Path) -> None:
    config = prepared(tmp_path)
    first = bootstrap(config, "--user=root", "--password-stdin", stdin=f"{PASSWORD}\n")
    assert (first.code, first.out, first.err) == (0, "user root created\n", "")
    row = trio.run(user_row, tmp_path / "hub" / "mezhub.db", "root")
    assert row.roles == ("admin",)
    second = bootstrap(config, "--user=root", "--password-stdin", stdin=PASSWORD)
    assert (second.code, second.out) == (1, "")
    assert second.err.startswith("error: cannot create root: ")
    assert "exists" in second.err
    assert second.err.count("\n") == 1


async def user_row(path: Path, name: str) -> users.UserRow:
    async with await Database.open(path) as database:
        row = await database.read(users.get, name=name)
    assert row is not None
    return row


def test_bootstrap_without_a_password_prints_an_invite(tmp_path: Path) -> None:
    proxy = {"public_addr": "hub.example.com:443"}
    result = bootstrap(prepared(tmp_path, proxy=proxy), "--user=root", "--roles=admin,access")
    assert result.code == 0, result.err
    first, second, url = result.out.splitlines()
    assert (first, second) == ("user root created", "invite (valid for 24 hours, once):")
    assert url.startswith("https://hub.example.com/invite#")


def test_bootstrap_by_the_environments_password(tmp_path: Path) -> None:
    result = bootstrap(prepared(tmp_path), "--user=root", MEZITE_PASSWORD=PASSWORD)
    assert (result.code, result.out) == (0, "user root created\n")


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (["--user=../x"], 1, "cannot create ../x: "),
        (["--user=x", "--roles=wizard"], 1, "cannot create x: "),
        (["--user=x", "--password=short"], 1, "cannot create x: "),
        ([], 2, "missing option '--user'"),
    ],
)
def test_bootstrap_refuses(tmp_path: Path, options: list[str], code: int, text: str) -> None:
    result = bootstrap(prepared(tmp_path), *options)
    assert (result.code, result.out) == (code, "")
    assert result.err.startswith(f"error: {text}")
    assert result.err.count("\n") == 1


# --- check --------------------------------------------------------------------------------------------------


def test_check_looks_at_the_certificate_too(tmp_path: Path) -> None:
    key = ecdsa_key()
    pair = write_pair(tmp_path, certificate(key, "other.example"), key_pem(key))
    files = {"cert_file": pair.cert_file, "key_file": pair.key_file}
    proxy = {"tls_mode": "file", "keypair": files, "public_addr": "hub.example.com"}
    config = write_config(tmp_path, proxy=proxy)
    good = run("mezhub", "check", "--config", str(config))
    assert (good.code, good.err) == (0, "")
    assert "note: proxy.keypair.cert_file: the certificate does not name hub.example.com" in good.out
    Path(files["key_file"]).unlink()
    for command in ("check", "start"):
        bad = run("mezhub", command, "--config", str(config))
        assert (bad.code, bad.out) == (2, "")
        assert bad.err.splitlines()[-1] == (
            f"error: proxy.keypair.key_file {tmp_path}/web.key cannot be read: no such file or directory; "
            "give the path of a PEM file"
        )


def test_check_names_the_wildcard_that_applications_need(tmp_path: Path) -> None:
    key = ecdsa_key()
    pair = write_pair(tmp_path, certificate(key, "hub.example.com"), key_pem(key))
    files = {"cert_file": pair.cert_file, "key_file": pair.key_file}
    proxy = {"tls_mode": "file", "keypair": files, "apps_domain": "apps.example.com"}
    config = write_config(tmp_path, proxy=proxy)
    for command in ("check", "start"):
        bad = run("mezhub", command, "--config", str(config))
        assert (bad.code, bad.out) == (2, "")
        assert "get one for *.apps.example.com" in bad.err.splitlines()[-1]
    looked = run("mezhub", "doctor", "--config", str(config))
    assert "get one for *.apps.example.com" in looked.out


# --- ca-pin --------------------------------------------------------------------------------------------------


def test_the_pin_is_the_same_every_time(tmp_path: Path) -> None:
    config = str(write_config(tmp_path))
    first = run("mezhub", "ca-pin", "--config", config)
    assert first.code == 0, first.err
    kind, _, digits = first.out.strip().partition(":")
    assert (kind, len(digits)) == ("sha256", 64)
    assert run("mezhub", "ca-pin", "--config", config).out == first.out
    assert stat.S_IMODE((tmp_path / "hub").stat().st_mode) == 0o700


NOT_A_DATABASE = b"this is not a database" * 100


def damage_database(folder: Path) -> None:
    (folder / "hub" / "mezhub.db").write_bytes(NOT_A_DATABASE)


def damage_hub_id(folder: Path) -> None:
    (folder / "hub" / "hub_id").write_text("two words\n")


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (damage_database, "cannot use the database: "),
        (damage_hub_id, "{folder}/hub/hub_id is damaged: "),
    ],
)
@pytest.mark.parametrize("command", ["ca-pin", "bootstrap", "start"])
def test_damaged_files(tmp_path: Path, command: str, damage: Callable[[Path], None], text: str) -> None:
    config = prepared(tmp_path)
    damage(tmp_path)
    options = ["--user=root", f"--password={PASSWORD}"] if command == "bootstrap" else []
    result = run("mezhub", command, "--config", str(config), *options)
    assert (result.code, result.out) == (1, "")
    errors = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, result.err
    assert errors[0].startswith(f"error: {text.format(folder=tmp_path)}"), errors
    assert "internal error" not in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize("command", ["ca-pin", "bootstrap", "start"])
def test_a_passphrase_that_does_not_open_the_ca(tmp_path: Path, command: str) -> None:
    first = write_config(tmp_path, ca_key_passphrase="right horse battery staple")
    assert run("mezhub", "ca-pin", "--config", str(first)).code == 0
    second = write_config(tmp_path, ca_key_passphrase="wrong horse battery staple")
    options = ["--user=root", f"--password={PASSWORD}"] if command == "bootstrap" else []
    result = run("mezhub", command, "--config", str(second), *options)
    assert result.code == 1
    errors = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, result.err
    assert "passphrase" in errors[0]


def test_a_data_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "hub").write_text("a file")
    result = run("mezhub", "ca-pin", "--config", str(write_config(tmp_path)))
    assert result.code == 1
    assert result.err.startswith(f"error: {tmp_path}/hub")
    assert "internal error" not in result.err


def test_init_says_when_it_cannot_write(tmp_path: Path) -> None:
    result = run("mezhub", "init", "--config", str(tmp_path / "none" / "hub.yaml"))
    assert result.code == 1
    assert result.err.startswith(f"error: cannot write {tmp_path}/none/hub.yaml: No such file or directory")


# --- signals -------------------------------------------------------------------------------------------------


@attrs.define
class Tls:
    """Counts; fails when it is told to."""

    fails: bool = False
    renewed: int = 0

    def renew(self) -> None:
        if self.fails:
            raise OSError(24, "Too many open files")
        self.renewed += 1


@attrs.define
class Hub:
    tls: Tls = attrs.field(factory=Tls)

    def reload_certificates(self, _config: object) -> None:
        self.tls.renew()


@pytest.fixture
def restored_logging():
    """SIGHUP configures the root logger."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.mark.usefixtures("restored_logging")
async def test_reloading(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write_config(tmp_path, log={"format": "json", "level": "warning"})
    hub = Hub()
    control = _Control(str(path), trio.CancelScope(), running=hub)
    control.reload()
    assert hub.tls.renewed == 1
    assert logging.getLogger().level == logging.WARNING
    write_config(tmp_path, log={"format": "text", "level": "info"})
    control.reload()
    assert logging.getLogger().level == logging.INFO
    assert "reloaded logging and certificates" in capsys.readouterr().err
    hub.tls.fails = True
    control.reload()
    err = capsys.readouterr().err
    assert "certificates not reloaded, the old ones hold" in err
    assert "Too many open files" in err
    _Control(str(path), trio.CancelScope()).reload()


@pytest.mark.usefixtures("restored_logging")
async def test_a_broken_file_keeps_the_old_settings(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write_config(tmp_path, log={"level": "loud"}, cluster_nam="x")
    hub, level = Hub(), logging.getLogger().level
    control = _Control(str(path), trio.CancelScope(), running=hub)
    control.reload()
    path.unlink()
    control.reload()
    assert (hub.tls.renewed, logging.getLogger().level) == (0, level)
    reasons = [record.reason for record in caplog.records]
    assert len(reasons) == 3
    assert "log.level" in "".join(reasons)
    assert "cluster_name" in "".join(reasons)
    assert reasons[2] == f"{path}: no such file"


async def test_signals_stop_the_hub_in_two_steps(tmp_path: Path) -> None:
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            control = _Control(str(tmp_path / "none"), scope)
            await nursery.start(control.obey)
            os.kill(os.getpid(), signal.SIGHUP)
            os.kill(os.getpid(), signal.SIGTERM)
            with trio.fail_after(5):
                await control.stop.wait()
            assert not scope.cancel_called
            os.kill(os.getpid(), signal.SIGINT)
            with trio.fail_after(5):
                await trio.sleep_forever()
    assert scope.cancelled_caught


@pytest.mark.e2e
def test_a_real_hub_is_reloaded_and_stopped(tmp_path: Path) -> None:
    config = prepared(tmp_path)
    command = program("mezhub", "--config", str(config))
    hub = Daemon(command, clean_environment(), tmp_path / "hub.log")
    try:
        hub.wait_for(lambda line: '"hub ready"' in line)
        hub.process.send_signal(signal.SIGHUP)
        hub.wait_for(lambda line: "reloaded logging and certificates" in line)
        config.write_text("{")
        seen = len(hub.lines)
        hub.process.send_signal(signal.SIGHUP)
        hub.wait_for(lambda line: "not reloaded, the old settings hold" in line, after=seen)
        assert hub.stop() == 0
        assert any('"draining"' in line for line in hub.lines)
    finally:
        hub.kill()
