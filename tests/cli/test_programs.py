# SPDX-License-Identifier: Apache-2.0
"""The four programs as users start them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import mezite
from mezite.cli.hub_client.auth_server import AuthServer, auth_server
from mezite.cli.mezctl.program import mezctl
from mezite.cli.mezd.program import mezd
from mezite.cli.mezhub.program import mezhub
from mezite.cli.msh.program import msh
from mezite.cli.terminal.errors import run_program

ROOT = Path(__file__).parent.parent.parent
PROGRAMS = {"mezhub": mezhub, "mezd": mezd, "msh": msh, "mezctl": mezctl}
HEAVY = [
    "trio",
    "cryptography",
    "rich",
    "paramiko",
    "sqlalchemy",
    "quart",
    "structlog",
    "yaml",
    "httpx",
    "google.protobuf",
]


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize("word", ["--version", "--help"])
def test_a_quick_word_imports_nothing_heavy(program, word):
    """`msh --version` takes 150 ms at most; what it imports is what decides that."""
    code = (
        "import sys\n"
        f"from mezite.cli.{program}.program import main\n"
        f"sys.argv = ['{program}', '{word}']\n"
        "try: main()\n"
        "finally: print('|', *[name for name in " + repr(HEAVY) + " if name in sys.modules])"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert finished.stdout.rpartition("|")[2].split() == []


@pytest.mark.parametrize("program", PROGRAMS)
def test_the_launchers_work_from_anywhere(program, tmp_path):
    (tmp_path / "click.py").write_text("raise SystemExit('imported from the current directory')")
    link = tmp_path / program
    link.symlink_to(ROOT / "bin" / program)
    finished = subprocess.run([link, "--version"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (finished.stdout, finished.returncode) == (f"{program} {mezite.__version__}\n", 0), finished.stderr


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_command_of_the_tables_exists(program, capsys):
    for command in PROGRAMS[program].lazy:
        assert run_program(PROGRAMS[program], program, [command, "--help"]) == 0, command
        assert f"Usage: {program} {command}" in capsys.readouterr().out


@pytest.mark.parametrize("program", ["msh", "mezctl"])
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(program, shell, capsys):
    assert run_program(PROGRAMS[program], program, ["completion", shell]) == 0
    script = capsys.readouterr().out
    assert f"_{program.upper()}_COMPLETE={shell}_complete" in script
    assert run_program(PROGRAMS[program], program, ["completion", "--help"]) == 0
    assert f'eval "$({program} completion bash)"' in capsys.readouterr().out
    finished = subprocess.run(
        [ROOT / "bin" / program],
        env={
            **os.environ,
            f"_{program.upper()}_COMPLETE": "bash_complete",
            "COMP_WORDS": f"{program} lo",
            "COMP_CWORD": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert "plain,login" in finished.stdout


def test_check_reports_every_problem_and_ends_with_2(tmp_path, capsys):
    path = tmp_path / "mezhub.yaml"
    path.write_text(
        "proxi: {}\nlog: {level: loud}\nauth: {listen_addr: x}\nssh: 5\nrecording: {retention: 9}\n"
    )
    assert run_program(mezhub, "mezhub", ["check", "--config", str(path)]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 5
    assert all(line.startswith(f"error: {path}:{number}: ") for number, line in enumerate(lines, 1))


def test_init_writes_what_check_accepts_and_never_overwrites(tmp_path, capsys):
    path = tmp_path / "mezhub.yaml"
    assert run_program(mezhub, "mezhub", ["init", "--config", str(path)]) == 0
    assert path.stat().st_mode & 0o777 == 0o600
    assert run_program(mezhub, "mezhub", ["check", "--config", str(path)]) == 0
    out = capsys.readouterr().out
    assert "note: ca_key_passphrase is not set" in out
    assert out.endswith(f"{path}: the configuration is valid\n")
    assert run_program(mezhub, "mezhub", ["init", "--config", str(path)]) == 1
    assert "it exists already" in capsys.readouterr().err


def test_mezhub_with_only_a_configuration_is_start(tmp_path, capsys):
    missing = tmp_path / "none.yaml"
    assert run_program(mezhub, "mezhub", ["--config", str(missing)]) == 2
    assert capsys.readouterr().err == f"error: {missing}: no such file\n"
    assert run_program(mezhub, "mezhub", ["--config", "x", "check", "--config", "x"]) == 2
    assert "--config belongs behind the command" in capsys.readouterr().err
    assert run_program(mezhub, "mezhub", []) == 0
    assert "Usage: mezhub" in capsys.readouterr().out


def test_global_options_of_mezctl():
    with mezctl.make_context(
        "mezctl", ["--auth-server=hub:1", "--token=t", "--ca-pin=p", "nodes"]
    ) as context:
        mezctl.callback(**context.params)
        found = auth_server(context)
    assert found.token is not None
    assert found.token.reveal() == "t"
    assert (found.address, found.address_given, found.ca_pin, found.plaintext) == ("hub:1", True, "p", False)
    assert "t" not in repr(found).partition("token=")[2][:3]
    with mezctl.make_context("mezctl", ["nodes"]) as context:
        assert auth_server(context) == AuthServer()
