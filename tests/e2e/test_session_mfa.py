# SPDX-License-Identifier: Apache-2.0
"""`require_session_mfa` against real programs: no way to a node leads past it (threat E8)."""

from __future__ import annotations

import json
import re
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError

import pytest

from mezite.cli.program_path import program_command
from tests.chromium import chromium, open_tab
from tests.e2e.approver import Approver, id_of
from tests.e2e.harness import ME, PASSWORD, Cluster, clean_environment

pytestmark = pytest.mark.e2e

ROOT = Path(__file__).parents[2]

ROLE = {
    "kind": "role",
    "version": "v1",
    "metadata": {"name": "careful"},
    "spec": {
        "options": {"require_session_mfa": "any"},
        "allow": {"node_labels": {"*": "*"}, "logins": [ME]},
    },
}


@pytest.fixture(scope="module")
def mia(cluster: Cluster) -> Approver:
    """A user whose sessions need a security key; her files are those of `msh login` in `mia`."""
    role = cluster.folder / "careful.json"
    role.write_text(json.dumps(ROLE))
    cluster.mezctl("roles", "create", f"--from-file={role}")
    cluster.mezctl("users", "create", "mia", "--roles=careful", "--password-stdin", stdin=PASSWORD)
    cluster.login("mia", "--out", str(cluster.folder / "mia_id"), home="unused")
    cluster.login("mia", home="mia")
    mia = Approver(cluster, "mia")
    mia.enrol()
    return mia


def stock(cluster: Cluster) -> str:
    """An ssh_config for stock clients with the files of `msh login --out`."""
    identity = cluster.folder / "mia_id"
    config = cluster.folder / "mia.jump"
    config.write_text(
        f"Host *\n  IdentityFile {identity}\n  CertificateFile {identity}-cert.pub\n  IdentitiesOnly yes\n"
        f"  UserKnownHostsFile {identity}.known_hosts\n  GlobalKnownHostsFile none\n  StrictHostKeyChecking yes\n"
    )
    return str(config)


def jump(cluster: Cluster, *options: str) -> list[str]:
    host, port = cluster.addresses["ssh"].split(":")
    return ["ssh", "-F", stock(cluster), "-J", f"mia@{host}:{port}", *options, f"{ME}@web-1"]


def minus_w(cluster: Cluster, *options: str) -> list[str]:
    host, port = cluster.addresses["ssh"].split(":")
    config = stock(cluster)
    way = f"ProxyCommand=ssh -F {config} -p {port} -W %h:%p mia@{host}"
    return ["ssh", "-F", config, "-o", way, *options, f"{ME}@web-1"]


def msh_proxy(cluster: Cluster, *options: str) -> list[str]:
    return ["ssh", "-F", str(cluster.ssh_config("mia")), *options, f"{ME}@web-1.mezite"]


def msh_ssh(_cluster: Cluster, *options: str) -> list[str]:
    return [*program_command("msh"), "ssh", *options, f"{ME}@web-1"]


DOORS = {"ssh -J": jump, "ssh -W": minus_w, "msh proxy ssh": msh_proxy, "msh ssh": msh_ssh}


@contextmanager
def running(cluster: Cluster, command: list[str], **asking: str) -> Iterator[subprocess.Popen[str]]:
    never = {"SSH_ASKPASS_REQUIRE": "never"}
    environment = clean_environment({**cluster.msh_environment("mia"), **(asking or never)})
    environment.pop("DISPLAY", None)
    with subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def url_of(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What the program tells its user: the address, and the code that the page must show."""
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if (code := re.search(r"code ([A-Z]{4}-[A-Z]{4})", said)) is not None:
            url = re.search(r"https://\S+/approve#[0-9a-f]{32}", said)
            assert url is not None, said
            return url[0], code[1]
    raise AssertionError(f"nobody was asked for anything: {said}")


def outcome(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=30)
    return process.returncode, out, err


@pytest.mark.parametrize("door", DOORS)
def test_a_touch_in_the_browser_opens_each_door(cluster: Cluster, mia: Approver, door: str) -> None:
    with running(cluster, [*DOORS[door](cluster), "echo in"]) as process:
        url, code = url_of(process)
        shown = mia.view(url)
        assert (shown["code"], shown["state"], shown["needs"]) == (code, "pending", "any")
        assert (shown["user"], shown["targets"]) == ("mia", [f"{ME}@web-1"])
        mia.approve(url)
        assert outcome(process)[:2] == (0, "in\n")
    with pytest.raises(HTTPError):  # decided: it cannot be used for another one
        mia.approve(url)


@pytest.mark.parametrize("door", ["ssh -J", "msh ssh"])
def test_no_in_the_browser_closes_the_door(cluster: Cluster, mia: Approver, door: str) -> None:
    with running(cluster, [*DOORS[door](cluster), "echo in"]) as process:
        url, _code = url_of(process)
        mia.refuse(url)
        code, out, err = outcome(process)
    assert (code, out) == (255, "")
    assert "the session was refused in the browser" in err


def test_nothing_that_ssh_can_ask_for_goes_past_it(cluster: Cluster, mia: Approver) -> None:
    """Where nobody can be asked (BatchMode) nothing is served: no command, no file, no forwarding."""
    batch = ("-o", "BatchMode=yes")
    wanted = {
        "exec": [*jump(cluster, *batch), "echo in"],
        "shell": jump(cluster, *batch, "-tt"),
        "sftp": [*jump(cluster, *batch, "-s"), "sftp"],
        "-W": jump(cluster, *batch, "-W", "127.0.0.1:1"),
        "-L": jump(cluster, *batch, "-N", "-L", f"{cluster.folder}/mia.sock:127.0.0.1:1"),
        "-R": jump(cluster, *batch, "-N", "-R", "127.0.0.1:0:127.0.0.1:1", "-o", "ExitOnForwardFailure=yes"),
    }
    before = len(cluster.audit("--type=session.start")) + len(cluster.audit("--type=port.forward"))
    environment = clean_environment(cluster.msh_environment("mia"))
    processes = {
        name: subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, command in wanted.items()
    }
    for name, process in processes.items():
        code, out, err = outcome(process)
        assert (code, out) == (255, ""), name
        assert "Permission denied (keyboard-interactive)" in err, name
    after = len(cluster.audit("--type=session.start")) + len(cluster.audit("--type=port.forward"))
    assert after == before


def test_a_code_typed_one_ahead_and_one_touch_for_many(cluster: Cluster, mia: Approver) -> None:
    """Asked by stock ssh, `msh ssh --mfa-code`, and `msh mfa prove` for programs that cannot be asked (Ansible)."""
    next_code = mia.enrol_app()
    batch = ("-o", "BatchMode=yes")

    def run(command: list[str]) -> tuple[int, str, str]:
        with running(cluster, command) as process:
            return outcome(process)

    # Stock ssh asks for it: the answer comes from a program, as it would from the keyboard.
    typed = cluster.folder / "typed"
    typed.write_text(f"#!/bin/sh\necho {next_code()}\n")
    typed.chmod(0o700)
    with running(
        cluster, [*jump(cluster), "echo in"], SSH_ASKPASS=str(typed), SSH_ASKPASS_REQUIRE="force"
    ) as process:
        code, out, err = outcome(process)
    assert (code, out) == (0, "in\n"), err
    used = next_code()
    assert run([*msh_ssh(cluster, f"--mfa-code={used}", *batch), "echo in"])[:2] == (0, "in\n")
    assert run([*msh_ssh(cluster, *batch), "echo in"])[0] == 255  # good once
    code, _out, err = run([*msh_ssh(cluster, f"--mfa-code={used}", *batch), "echo in"])
    assert (code, "used before" in err) == (255, True), err
    with running(
        cluster, [*program_command("msh"), "mfa", "prove", "--labels=env=prod", "--ttl=5m"]
    ) as process:
        mia.approve(url_of(process)[0])
        assert outcome(process)[:2] == (0, "sessions on web-1 need no other factor for 5m\n")
    for _ in range(2):
        assert run([*msh_proxy(cluster, *batch), "echo in"])[:2] == (0, "in\n")
    # Another certificate of the same user: that of `msh login --out`.
    assert run([*jump(cluster, *batch), "echo in"])[0] == 255
    proven = cluster.audit("--type=user.mfa.proven")
    assert [event["window_seconds"] for event in proven if event["factor"] == "totp"] == [0, 0]
    assert 300 in [event["window_seconds"] for event in proven if event["factor"] == "hardware_key"]


def test_one_master_one_proof(cluster: Cluster, mia: Approver) -> None:
    """Sessions in one SSH connection share its proof; another connection to the node has none of it."""
    socket = cluster.folder / "m"
    master = ("-o", "ControlMaster=yes", "-o", f"ControlPath={socket}", "-N")
    with running(cluster, jump(cluster, *master)) as process:
        url, _code = url_of(process)
        mia.approve(url)
        again = jump(cluster, "-o", "BatchMode=yes", "-o", f"ControlPath={socket}")
        for _ in range(100):
            if socket.exists():
                break
            select.select([], [], [], 0.1)
        with running(cluster, [*again, "echo in"]) as session:
            assert outcome(session)[:2] == (0, "in\n")
        as_somebody_else = [*jump(cluster, "-o", "BatchMode=yes"), "echo in"]
        with running(cluster, as_somebody_else) as session:
            assert outcome(session)[0] == 255


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    subprocess.run([sys.executable, str(ROOT / "web" / "build.py")], check=True)
    with chromium(tmp_path_factory.mktemp("browser")) as address:
        yield address


async def test_the_page_in_a_browser(cluster: Cluster, mia: Approver, browser: str) -> None:
    """Threat E7: stock ssh shows an address; the page there shows the same code, and a touch lets the session go on."""
    port = cluster.addresses["web"].rpartition(":")[2]
    async with open_tab(browser) as tab:
        await tab.add_authenticator()
        await tab.open(f"https://localhost:{port}/account/factors")
        await tab.fill("User name", "mia")
        await tab.fill("Password", PASSWORD)
        await tab.press("Enter")
        await tab.click("Use a recovery code instead")
        await tab.fill("Recovery code", mia.recovery_codes[0])
        await tab.press("Enter")
        await tab.click("Security key or passkey")
        await tab.shows("is enrolled")
        for button, answer, code in (
            ("Use the security key", "Approved.", 0),
            ("This was not me", "Refused.", 255),
        ):
            with running(cluster, [*jump(cluster), "echo in"]) as process:
                url, compare = url_of(process)
                await tab.open(f"https://localhost:{port}/approve#{id_of(url)}")
                await tab.shows(compare)
                assert f"{ME}@web-1" in await tab.text()
                assert await tab.run("location.hash") == ""
                await tab.click(button)
                await tab.shows(answer)
                assert outcome(process)[:2] == (code, "in\n" if code == 0 else "")
        assert await tab.complaints() == []
