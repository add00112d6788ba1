# SPDX-License-Identifier: Apache-2.0
"""`mezhub demo` from the outside: exit codes, and what it leaves behind (nothing)."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from tests.e2e.harness import ME, clean_environment, program

pytestmark = pytest.mark.e2e

SECONDS = 90


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    """A demo whose HOME and temporary files are in `folder`."""
    for name in ("home", "tmp"):
        (folder / name).mkdir(exist_ok=True, parents=True)
    environment = {
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "MEZITE_DEMO_TEST": str(folder),
    }
    return subprocess.Popen(
        program("mezhub", "demo", *arguments),
        env=clean_environment() | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(demo: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = demo.communicate(timeout=SECONDS)
    return demo.returncode, out, err


def left_behind(folder: Path) -> list[str]:
    """Files outside the demo's own directory, which is gone; and processes that carry its environment."""
    files = [str(path) for name in ("home", "tmp") for path in (folder / name).rglob("*")]
    marker = f"MEZITE_DEMO_TEST={folder}".encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if marker in (process / "environ").read_bytes().split(b"\0"):
                files.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return files


def sent_on(url: str) -> str:
    """Where a browser that nobody has signed in with is sent from an application."""
    host, port = url.removeprefix("https://").split(":")
    resolved = ("--resolve", f"{host}:{port}:127.0.0.1")
    page = ("-H", "accept: text/html", "-H", "sec-fetch-mode: navigate", "-H", "sec-fetch-dest: document")
    answer = subprocess.run(
        [
            "curl",
            "-sk",
            "--max-time",
            "30",
            "-o",
            "/dev/null",
            "-w",
            "%{redirect_url}",
            *resolved,
            *page,
            url,
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return answer.stdout


def settled(folder: Path) -> list[str]:
    """The same, when what was told to end has had a moment to do so."""
    for _ in range(100):
        if not left_behind(folder):
            return []
        threading.Event().wait(0.1)
    return left_behind(folder)


def test_two_at_once_with_their_exit_codes(tmp_path: Path) -> None:
    one = start(tmp_path / "one", "--run", "id -un")
    two = start(tmp_path / "two", "--run", "echo out; echo err >&2; exit 7")
    assert finish(one) == (0, f"{ME}\n", "")
    assert finish(two) == (7, "out\n", "err\n")
    assert left_behind(tmp_path / "one") == []
    assert left_behind(tmp_path / "two") == []


def test_a_directory_is_kept_and_serves_again(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    for expected in ("first", "second"):
        code, out, err = finish(start(tmp_path, "--dir", str(kept), "--run", f"echo {expected}"))
        assert (code, out) == (0, f"{expected}\n"), err
        assert (kept / "hub" / "mezhub.db").exists()
        assert (kept / "msh" / "current").exists()
        assert left_behind(tmp_path) == []


def test_it_says_what_to_type_and_ends_when_it_is_told(tmp_path: Path) -> None:
    demo = start(tmp_path)
    assert demo.stdout is not None
    shown = ""
    while "Ctrl-C ends everything." not in shown:
        line = demo.stdout.readline()
        assert line, demo.stderr.read() if demo.stderr else ""
        shown += line
    home = re.search(r"export MSH_HOME=(\S+)", shown)
    assert home is not None
    # Exactly what is printed, typed into another terminal.
    typed = [line.strip() for line in shown.splitlines() if " ls" in line or "uname" in line]
    assert len(typed) == 3
    for line in typed:
        result = subprocess.run(
            ["sh", "-c", f"export {home.group(0).removeprefix('export ')}; {line}"],
            env=clean_environment() | {"HOME": str(tmp_path / "home")},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert result.returncode == 0, (line, result.stderr)
        assert result.stdout
    web, app = (
        re.search(r"Web +(\S+)", shown),
        re.search(r"App +(https://hello\.apps\.localhost:[0-9]+)", shown),
    )
    assert web is not None
    assert app is not None
    assert sent_on(app.group(1)).startswith(f"{web.group(1)}/apps/enter/")
    assert "msh app login shout --port 7000" in shown
    assert shouted(home.group(1), tmp_path) == b"HELLO\n"
    demo.send_signal(signal.SIGINT)
    code, _out, err = finish(demo)
    assert (code, err) == (0, "")
    assert settled(tmp_path) == []


def shouted(home: str, folder: Path) -> bytes:
    """What the sample TCP application answers to `hello`, by the way that was printed, at a free port."""
    environment = clean_environment() | {"MSH_HOME": home, "HOME": str(folder / "home")}
    command = program("msh", "app", "login", "shout")
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as msh:
        assert msh.stdout is not None
        opened = re.fullmatch(r"Tunnel open: 127\.0\.0\.1:([0-9]+) -> shout\n", msh.stdout.readline())
        try:
            assert opened is not None
            client = socket.create_connection(("127.0.0.1", int(opened[1])), SECONDS)
            with client, client.makefile("rb") as lines:
                lines.readline()
                client.sendall(b"hello\n")
                return lines.readline()
        finally:
            msh.kill()


def test_a_command_that_is_not_let_end(tmp_path: Path) -> None:
    demo = start(tmp_path, "--run", "echo begun; sleep 60")
    assert demo.stdout is not None
    assert demo.stdout.readline() == "begun\n"
    demo.send_signal(signal.SIGTERM)
    code, _out, err = finish(demo)
    assert code == 130
    assert "Traceback" not in err
    assert settled(tmp_path) == []


def test_without_ssh_it_says_what_is_missing(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    result = subprocess.run(
        program("mezhub", "demo", "--run", "true"),
        env=clean_environment() | {"PATH": str(tmp_path / "bin"), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert result.returncode == 1
    assert result.stderr == (
        "error: the demo needs the OpenSSH client: ssh is not installed; "
        "Debian: apt-get install openssh-client\n"
    )


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    code, _out, err = finish(start(tmp_path, "--dir", f"{tmp_path}/file/demo", "--run", "true"))
    assert code == 1
    assert err.startswith(f"error: cannot make {tmp_path}/file/demo: Not a directory; ")
    assert err.count("\n") == 1
    assert os.listdir(tmp_path / "tmp") == []
