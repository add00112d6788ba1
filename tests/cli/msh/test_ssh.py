# SPDX-License-Identifier: Apache-2.0
"""How `msh ssh` reads its arguments and calls OpenSSH."""

from __future__ import annotations

import getpass
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mezite.cli.hub_client.profile_store import CurrentProfile, Profile, ProfileStore
from mezite.cli.hub_client.ssh_settings import node_settings
from mezite.cli.msh.ssh import choose_login, client_options, run_client, split_arguments
from mezite.cli.terminal.errors import CliError
from tests.cli.commands import HubInThread, environment, run

CURRENT = CurrentProfile(
    host="hub.example.com",
    user="alice",
    cluster="test",
    proxy_addr="hub.example.com:443",
    ssh_addr="hub.example.com:3023",
)

# What is typed; (options for ssh, login, node, command).
LINES = {
    "web-1": ([], None, "web-1", []),
    "ubuntu@web-1": ([], "ubuntu", "web-1", []),
    "-l ubuntu web-1": ([], "ubuntu", "web-1", []),
    "-lubuntu web-1": ([], "ubuntu", "web-1", []),
    "--login ubuntu web-1": ([], "ubuntu", "web-1", []),
    "--login=ubuntu web-1 id": ([], "ubuntu", "web-1", ["id"]),
    "root@web-1 ls -la /": ([], "root", "web-1", ["ls", "-la", "/"]),
    "-l ubuntu root@web-1": ([], "root", "web-1", []),
    "-t web-1 top": (["-t"], None, "web-1", ["top"]),
    "-tt web-1": (["-t", "-t"], None, "web-1", []),
    "-L 1:2:3 web-1": (["-L", "1:2:3"], None, "web-1", []),
    "-L5432:localhost:5432 web-1": (["-L", "5432:localhost:5432"], None, "web-1", []),
    "-NL 8080:localhost:80 -l ubuntu web-1": (["-N", "-L", "8080:localhost:80"], "ubuntu", "web-1", []),
    "-NfL8080:h:80 web-1": (["-N", "-f", "-L", "8080:h:80"], None, "web-1", []),
    "-R 1:2:3 -D 1080 -A web-1": (["-R", "1:2:3", "-D", "1080", "-A"], None, "web-1", []),
    "-oLogLevel=ERROR web-1": (["-o", "LogLevel=ERROR"], None, "web-1", []),
    "-T -N -W db:5432 web-1": (["-T", "-N", "-W", "db:5432"], None, "web-1", []),
    "-- web-1 -x": ([], None, "web-1", ["-x"]),
    "-t -- web-1": (["-t"], None, "web-1", []),
    "web-1 --login x": ([], None, "web-1", ["--login", "x"]),
    "-vvv -q web-1": (["-v", "-v", "-v", "-q"], None, "web-1", []),
}


@pytest.mark.parametrize("line", LINES)
def test_options_as_ssh_reads_them(line: str) -> None:
    options, login, node, command = LINES[line]
    asked = split_arguments(line.split())
    assert list(asked.options) == options
    assert (asked.login, asked.node, list(asked.command)) == (login, node, command)
    assert asked.mfa_code is None


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("", "no node given"),
        ("-t", "no node given"),
        ("ubuntu@", "no node given"),
        ("--", "no node given"),
        ("-L", "-L needs a value"),
        ("-NL", "-L needs a value"),
        ("--login", "--login needs a value"),
        ("-i key web-1", "unknown option -i"),
        ("-tp 22 web-1", "unknown option -p"),
        ("--verbose web-1", "unknown option --verbose"),
        ("-F x web-1", "unknown option -F"),
    ],
)
def test_what_cannot_be_read(line: str, text: str) -> None:
    with pytest.raises(CliError) as refused:
        split_arguments(line.split())
    assert refused.value.what == text
    assert refused.value.exit_code == 2
    assert refused.value.hint or refused.value.why


@pytest.mark.parametrize("line", ["--mfa-code=1 web-1", "-L 1:2:3 --mfa-code 1 web-1"])
def test_a_code_behind_options(line: str) -> None:
    assert split_arguments(line.split()).mfa_code == "1"


def test_help_is_not_looked_for_inside_options() -> None:
    """`-h` inside `-L1:host:2` is a letter like any other."""
    assert run("msh", "ssh", "--help").out.startswith("Usage: msh ssh [OPTIONS] [SSH OPTIONS] [USER@]NODE")
    result = run("msh", "ssh", "-L1:host:2")
    assert result.err.startswith("error: no node given")


LOCAL = getpass.getuser()


@pytest.mark.parametrize(
    ("wanted", "principals", "chosen"),
    [
        ("root", [], "root"),
        ("root", ["ubuntu"], "root"),
        (None, ["ubuntu"], "ubuntu"),
        (None, ["ubuntu", LOCAL], LOCAL),
        ("", ["ubuntu"], "ubuntu"),
    ],
)
def test_the_login_that_is_asked_for(wanted: str | None, principals: list[str], chosen: str) -> None:
    assert choose_login(wanted, principals) == chosen


@pytest.mark.parametrize(
    ("principals", "text", "code"),
    [([], "you have no logins", 1), (["a1", "b1"], "which login?", 2)],
)
def test_no_login_to_ask_for(principals: list[str], text: str, code: int) -> None:
    with pytest.raises(CliError, match=text) as refused:
        choose_login(None, principals)
    assert refused.value.exit_code == code


def test_ssh_is_told_where_and_whom_to_trust(tmp_path: Path) -> None:
    with environment(MSH_HOME=str(tmp_path)):
        options = client_options(CURRENT)
    assert options[:2] == ["-F", "none"]
    given = dict(entry.split("=", 1) for entry in options[3::2])
    assert given["IdentityFile"] == f'"{tmp_path}/hub.example.com/alice/key"'
    assert given["UserKnownHostsFile"] == f'"{tmp_path}/hub.example.com/known_hosts"'
    assert given["StrictHostKeyChecking"] == "yes"
    assert given["ProxyCommand"].endswith(" proxy ssh --login=%r %h:%p")
    assert given["PreferredAuthentications"] == "publickey,keyboard-interactive"
    assert "IdentityAgent" not in given, "ssh -A would have no agent to forward"


@pytest.mark.e2e
def test_openssh_understands_a_home_with_blanks_and_per_cent_signs(tmp_path: Path) -> None:
    home = tmp_path / "my 100% home"
    home.mkdir()
    with environment(MSH_HOME=str(home)):
        options = client_options(CURRENT)
    shown = subprocess.run(
        ["ssh", *options, "-G", "web-1"], capture_output=True, text=True, check=True, timeout=20
    ).stdout
    values = dict(line.split(" ", 1) for line in shown.splitlines() if " " in line)
    assert values["certificatefile"].replace("%%", "%") == f"{home}/hub.example.com/alice/key-cert.pub"
    assert f"MSH_HOME='{home}'".replace("%", "%%") in values["proxycommand"]


def test_a_relative_home_is_made_absolute(tmp_path: Path) -> None:
    with environment(MSH_HOME="here"):
        assert node_settings(CURRENT)["IdentityFile"].startswith(f'"{Path.cwd()}/here/')


def test_config_is_a_block_for_ssh_config(tmp_path: Path) -> None:
    store = ProfileStore(tmp_path)
    files = dict.fromkeys(
        ("ssh_key", "ssh_certificate", "tls_key", "tls_certificate", "ca_pem", "known_hosts"),
        b"-----BEGIN X-----\n",
    )
    store.save(CURRENT, Profile(**files))
    result = run("msh", "config", environ={"MSH_HOME": str(tmp_path)})
    assert (result.code, result.err) == (0, "")
    first, host, *settings = result.out.splitlines()
    assert first == "# nodes of test through hub.example.com:443, as alice"
    assert host == "Host *.test"
    assert all(line.startswith("    ") for line in settings)
    assert f"    ProxyCommand env MSH_HOME={tmp_path} " in result.out
    nobody = run("msh", "config", environ={"MSH_HOME": str(tmp_path / "none")})
    assert nobody.code == 1
    assert nobody.err.startswith("error: not signed in: ")


# --- running it ----------------------------------------------------------------------------------------------


def program(folder: Path, name: str, body: str) -> None:
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{body}\n")
    path.chmod(0o700)


def test_ssh_is_missing_from_the_path(tmp_path: Path) -> None:
    with environment(PATH=str(tmp_path)), pytest.raises(CliError) as missing:
        run_client("ssh", [])
    assert missing.value.what == "ssh is not installed"
    assert missing.value.hint == "install the OpenSSH client (Debian: openssh-client)"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("raise SystemExit(7)", 7),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", 143),
        # Ctrl-C is not ours to obey, and not ignored by ssh either.
        (
            "import os, signal\n"
            "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler\n"
            "os.kill(os.getppid(), signal.SIGINT); raise SystemExit(3)",
            3,
        ),
    ],
)
def test_the_exit_code_is_the_clients(tmp_path: Path, body: str, code: int) -> None:
    program(tmp_path, "ssh", body)
    with environment(PATH=str(tmp_path)):
        assert run_client("ssh", []) == code


def test_the_command_line_that_ssh_gets(hub: HubInThread, tmp_path: Path) -> None:
    home, folder = tmp_path / "home", tmp_path / "bin"
    folder.mkdir()
    hub.sign_in(home, "sshuser", logins=("deploy",))
    program(folder, "ssh", f"import sys\nopen({str(tmp_path / 'argv')!r}, 'w').write('\\n'.join(sys.argv))")
    environ = {"PATH": f"{folder}:{os.environ['PATH']}"}
    result = hub.msh(home, "ssh", "-NL", "1:2:3", "web-1", "ls", "-la", **environ)
    assert (result.code, result.err) == (0, "")
    argv = (tmp_path / "argv").read_text().split("\n")
    assert argv[-9:] == ["-l", "deploy", "-N", "-L", "1:2:3", "--", "web-1", "ls", "-la"]


@pytest.mark.parametrize(("arguments", "code"), [(["web-1"], 255), (["-x!"], 2)])
def test_what_keeps_ssh_from_connecting_is_255(tmp_path: Path, arguments: list[str], code: int) -> None:
    result = run("msh", "ssh", *arguments, environ={"MSH_HOME": str(tmp_path)})
    assert (result.code, result.out) == (code, "")
    assert result.err.count("\n") == 1


def test_too_many_logins_are_a_question_not_a_failure(hub: HubInThread, tmp_path: Path) -> None:
    hub.sign_in(tmp_path, "twologins", logins=("a1", "b1"))
    result = hub.msh(tmp_path, "ssh", "web-1")
    assert (result.code, result.err) == (2, "error: which login?: you have a1, b1; use LOGIN@NODE\n")
