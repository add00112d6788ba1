# SPDX-License-Identifier: Apache-2.0
"""msh against a hub: signing in and out, what it knows, and the way to nodes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import attrs
import pytest

from mezite.cli.hub_client.profile_store import ProfileStore, as_reached
from mezite.cli.hub_client.user_certificate import check_usable, read_user_certificate
from mezite.cli.msh.login import _check_clock
from mezite.cli.terminal.errors import CliError
from tests.cli.commands import HubInThread, Result, run
from tests.hub.live_hub import PASSWORD

STATUS_KEYS = ["user", "cluster", "proxy", "roles", "logins", "expires_at", "expired", "requests"]


def login(hub: HubInThread, home: Path, *options: str, stdin: str = PASSWORD) -> Result:
    where = ["--proxy", hub.hub.address("web"), "--ca-pin", hub.hub.pin]
    return hub.msh(home, "login", *where, "--user=root", "--password-stdin", *options, stdin=stdin)


# --- login ---------------------------------------------------------------------------------------------------


def test_login_writes_a_profile(hub: HubInThread, tmp_path: Path) -> None:
    result = login(hub, tmp_path)
    assert (result.code, result.out) == (0, ""), result.err
    assert result.err.splitlines()[0] == "logged in to test as root"
    assert "  roles   admin, access" in result.err
    assert "  logins  ubuntu" in result.err
    store = ProfileStore(tmp_path)
    current = store.current()
    assert (current.user, current.cluster, current.proxy_addr) == ("root", "test", hub.hub.address("web"))
    assert current.ssh_addr == hub.hub.address("ssh")
    for path in tmp_path.rglob("*"):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), path
    assert hub.msh(tmp_path, "ls").code == 0


def test_a_websocket_on_request(hub: HubInThread, tmp_path: Path) -> None:
    result = login(hub, tmp_path, "--websocket")
    assert result.code == 0, result.err
    store = ProfileStore(tmp_path)
    assert store.current().carrier == "websocket"
    store.save(attrs.evolve(store.current(), ssh_addr="127.0.0.1:1"), store.load(store.current()))
    assert hub.msh(tmp_path, "ls").code == 0


def test_the_session_is_not_left_behind(hub: HubInThread, tmp_path: Path) -> None:
    before = len(hub.do(hub.hub.audited, "user.login"))
    login(hub, tmp_path)
    assert len(hub.do(hub.hub.audited, "user.login")) == before + 1
    assert not any(PASSWORD in path.read_text() for path in tmp_path.rglob("*") if path.is_file())


def test_the_second_time_the_ca_is_known(hub: HubInThread, tmp_path: Path) -> None:
    arguments = ["login", "--proxy", hub.hub.address("web"), "--user=root", "--password-stdin"]
    unknown = hub.msh(tmp_path, *arguments, stdin=PASSWORD)
    assert unknown.code == 1
    assert unknown.err.startswith(f"error: cannot trust the hub at {hub.hub.address('web')}: ")
    assert "give --ca-pin with what `mezhub ca-pin` prints" in unknown.err
    login(hub, tmp_path)
    assert hub.msh(tmp_path, *arguments, stdin=PASSWORD).code == 0


def test_a_ca_file_will_do(hub: HubInThread, tmp_path: Path) -> None:
    file = tmp_path / "ca.pem"
    file.write_text("".join(hub.hub.hub.ground.authorities.host_tls_ca_pem))
    arguments = ["login", "--proxy", hub.hub.address("web"), "--user=root", "--password-stdin"]
    home = tmp_path / "home"
    assert hub.msh(home, *arguments, f"--ca-file={file}", stdin=PASSWORD).code == 0
    missing = hub.msh(home, *arguments, f"--ca-file={tmp_path}/none", stdin=PASSWORD)
    assert missing.err == (
        f"error: cannot read {tmp_path}/none: No such file or directory; "
        "give a file of PEM certificates with --ca-file\n"
    )


@pytest.mark.e2e
def test_identity_files_that_openssh_reads(hub: HubInThread, tmp_path: Path) -> None:
    path = tmp_path / "new" / "id"
    result = login(hub, tmp_path / "home", f"--out={path}", "--ttl=30m")
    assert result.code == 0, result.err
    assert f"identity files: {path}, {path}-cert.pub, {path}.pub, {path}.known_hosts" in result.err
    assert not (tmp_path / "home").exists(), "the profile is left alone"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    shown = subprocess.run(
        ["ssh-keygen", "-L", "-f", f"{path}-cert.pub"], capture_output=True, text=True, check=True
    ).stdout
    assert "user certificate" in shown
    assert 'Key ID: "root"' in shown
    assert "permit-pty" in shown
    assert "                ubuntu" in shown
    derived = subprocess.run(
        ["ssh-keygen", "-y", "-f", str(path)], capture_output=True, text=True, check=True
    ).stdout
    assert derived.split()[:2] == Path(f"{path}.pub").read_text().split()[:2]
    assert Path(f"{path}.known_hosts").read_text().startswith("@cert-authority * ssh-ed25519 ")
    again = login(hub, tmp_path / "home", f"--out={path}")
    assert again.code == 0, "existing files are replaced"


def test_identity_files_that_cannot_be_written(hub: HubInThread, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = login(hub, tmp_path / "home", f"--out={tmp_path}/file/id")
    assert result.code == 1
    assert result.err.startswith(f"error: cannot write {tmp_path}/file")
    assert result.err.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        (["--ttl=soon"], 2, "--ttl cannot be read: "),
        (["--ca-pin=sha256:0"], 2, "--ca-pin cannot be used: "),
        ([f"--ca-pin=sha256:{'0' * 64}"], 1, "the hub at "),
        (["--proxy=a:b:c"], 2, "--proxy cannot be read: "),
        (["--proxy=127.0.0.1"], 1, "no hub answers at 127.0.0.1: 443: "),
        (["--proxy=127.0.0.1:1"], 1, "cannot connect to 127.0.0.1:1: "),
        (["--password=x"], 2, "--password and --password-stdin exclude each other"),
    ],
)
def test_logins_that_fail(hub: HubInThread, tmp_path: Path, options: list[str], code: int, text: str) -> None:
    result = login(hub, tmp_path, *options)
    assert (result.code, result.out) == (code, ""), result.err
    assert result.err.startswith(f"error: {text}"), result.err
    assert result.err.count("\n") == 1
    assert not (tmp_path / "current").exists()


def test_a_wrong_password(hub: HubInThread, tmp_path: Path) -> None:
    result = login(hub, tmp_path, "--mfa-code=123456", stdin="wrong")
    assert result.code == 1
    assert result.err.startswith("error: wrong user name, password or code")


@pytest.mark.parametrize("port", ["auth", "ssh", "tunnel", "diag"])
def test_another_port_of_the_hub(hub: HubInThread, tmp_path: Path, port: str) -> None:
    result = login(hub, tmp_path, f"--proxy={hub.hub.address(port)}")
    assert result.code == 1
    assert result.err.startswith("error: ")
    assert "internal error" not in result.err
    assert "HTTPS port" in result.err or "try again" in result.err, result.err


def test_a_user_without_logins(hub: HubInThread, tmp_path: Path) -> None:
    hub.mezctl("users", "create", "nologins", "--roles=access", "--password-stdin", stdin=PASSWORD)
    result = login(hub, tmp_path, "--user=nologins")
    assert "  logins  none: ask an administrator for the trait `logins`" in result.err
    assert hub.msh(tmp_path, "status", "--format=json").json["logins"] == []
    failed = hub.msh(tmp_path, "ssh", "web-1")
    assert failed.code == 255
    assert failed.err.startswith("error: you have no logins")


@pytest.mark.parametrize(("minutes", "text"), [(10, "behind"), (-10, "ahead of")])
def test_a_clock_that_is_off(minutes: int, text: str) -> None:
    """Threat F6."""
    with pytest.raises(CliError) as skewed:
        _check_clock(time.time_ns() // 1_000_000 + minutes * 60_000)
    assert f"{text} the hub's" in skewed.value.why
    assert skewed.value.hint == "set the clock (NTP) and try again"
    _check_clock(time.time_ns() // 1_000_000)


@pytest.mark.parametrize(
    ("advertised", "expected"),
    [("localhost:3023", "hub.lan:3023"), ("hub.example.com:3023", "hub.example.com:3023"), ("", "")],
)
def test_addresses_that_are_advertised(advertised: str, expected: str) -> None:
    assert as_reached(advertised, "hub.lan") == expected


# --- status and logout ---------------------------------------------------------------------------------------


def test_status_is_what_the_certificate_says(hub: HubInThread, tmp_path: Path) -> None:
    hub.sign_in(tmp_path, "statususer", roles=("access", "auditor"), logins=("ops", "ubuntu"))
    result = hub.msh(tmp_path, "status", "--format=json")
    assert result.code == 0
    assert list(result.json) == STATUS_KEYS
    assert result.json["roles"] == ["access", "auditor"]
    assert result.json["logins"] == ["ops", "ubuntu"]
    assert result.json["expired"] is False
    assert "user:" in hub.msh(tmp_path, "status").out
    assert hub.msh(tmp_path, "status", "--format=yaml").out.startswith("user: statususer\n")


def test_status_of_an_old_certificate_is_1(hub: HubInThread, tmp_path: Path) -> None:
    ProfileStore(tmp_path).save(*hub.hub.profile("old", ("access",), ("ubuntu",), ttl_seconds=-100))
    result = hub.msh(tmp_path, "status", "--format=json")
    assert (result.code, result.json["expired"]) == (1, True)
    listing = hub.msh(tmp_path, "ls")
    assert listing.code == 1
    assert listing.err.startswith("error: your certificate for test expired 1m4")
    assert f"run msh login --proxy={hub.hub.address('web')} --user=old" in listing.err


def test_status_of_nobody_is_1(hub: HubInThread, tmp_path: Path) -> None:
    result = hub.msh(tmp_path, "status")
    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("error: not signed in: ")


def test_a_damaged_certificate(hub: HubInThread, tmp_path: Path) -> None:
    current, profile = hub.hub.profile("old", ("access",), ("ubuntu",))
    for damage in (b"nonsense", b"ssh-ed25519-cert-v01@openssh.com AAAA"):
        with pytest.raises(CliError, match="your SSH certificate cannot be read"):
            read_user_certificate(attrs.evolve(profile, ssh_certificate=damage))
    with pytest.raises(CliError, match="your certificate cannot be read"):
        check_usable(current, attrs.evolve(profile, tls_certificate=b"-----BEGIN CERTIFICATE-----\n"))
    store = ProfileStore(tmp_path)
    store.save(current, attrs.evolve(profile, tls_key=b"-----BEGIN PRIVATE KEY-----\n"))
    run_mezctl = run("mezctl", "users", "ls", environ={"MSH_HOME": str(tmp_path)})
    for result in (hub.msh(tmp_path, "ls"), run_mezctl):
        assert result.code == 1
        assert result.err.startswith("error: your certificate cannot be used: ")
        assert result.err.endswith("; run msh login again\n")


def test_logout_forgets(hub: HubInThread, tmp_path: Path) -> None:
    hub.sign_in(tmp_path, "leaver")
    result = hub.msh(tmp_path, "logout")
    assert (result.code, result.out, result.err) == (0, "", "logged out of test as leaver\n")
    assert not list(tmp_path.rglob("key"))
    assert hub.msh(tmp_path, "logout").code == 1
    assert hub.msh(tmp_path, "status").code == 1


# --- nodes ---------------------------------------------------------------------------------------------------


def test_the_nodes_of_a_user(hub: HubInThread, tmp_path: Path) -> None:
    hub.do(hub.hub.enroll, "msh-node")
    hub.sign_in(tmp_path, "lister", logins=("deploy",))
    rows = hub.msh(tmp_path, "ls", "--format=json", "--search=msh-node").json
    assert [(row["name"], row["logins"], row["status"]) for row in rows] == [
        ("msh-node", ["deploy"], "offline")
    ]
    assert "msh-node" in hub.msh(tmp_path, "list", "--labels=env=prod").out
    assert hub.msh(tmp_path, "ls", "--labels=env=none", "--format=json").json == []
    broken = hub.msh(tmp_path, "ls", "--labels=env")
    assert broken.code == 2
    assert broken.err.startswith("error: --labels cannot be read: ")


def test_a_user_who_is_gone(hub: HubInThread, tmp_path: Path) -> None:
    ProfileStore(tmp_path).save(*hub.hub.profile("ghost", ("access",), ("ubuntu",)))
    result = hub.msh(tmp_path, "ls")
    assert (result.code, result.err) == (1, "error: user ghost is not known here: log in again\n")


def test_a_hub_that_is_not_the_one_of_the_profile(hub: HubInThread, tmp_path: Path) -> None:
    current, profile = hub.hub.profile("root", ("access",), ("ubuntu",))
    for name, changed, text in (
        ("cluster", attrs.evolve(current, cluster="other"), "cannot trust the hub at "),
        ("port", attrs.evolve(current, ssh_addr=hub.hub.address("web")), "is not a hub's SSH port"),
        ("plain", attrs.evolve(current, ssh_addr=hub.hub.address("diag")), "is not a hub's SSH port"),
        ("nobody", attrs.evolve(current, ssh_addr="127.0.0.1:1"), "cannot connect to 127.0.0.1:1"),
    ):
        ProfileStore(tmp_path / name).save(changed, profile)
        result = hub.msh(tmp_path / name, "ls")
        assert result.code == 1, name
        assert text in result.err, result.err
        assert result.err.count("\n") == 1
        assert result.err.startswith("error: ")


# --- the way to a node ---------------------------------------------------------------------------------------


def proxy(home: Path, *arguments: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """`msh proxy ssh` as ssh runs it."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("MEZITE_")}
    return subprocess.run(
        [sys.executable, "-m", "mezite.cli.msh", "proxy", "ssh", *arguments],
        env={**environ, "MSH_HOME": str(home)},
        input=data,
        capture_output=True,
        timeout=30,
        check=False,
    )


@pytest.mark.e2e
def test_bytes_pass_as_they_are(hub: HubInThread, tmp_path: Path) -> None:
    hub.start_echo("echo-node")
    hub.sign_in(tmp_path, "proxied")
    data = bytes(range(256)) * 1000
    result = proxy(tmp_path, "echo-node.test:22", "--login=ubuntu", data=data)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout == data + b"<end>"


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["nosuch:22"], 1, b"error: node nosuch: not found, or you have no login there"),
        ([".test:22"], 2, b"error: no node given; write NODE or NODE:22"),
        (["--login=root", "offline-node"], 1, b"error: login root on node offline-node is not allowed"),
        (["--login=ubuntu", "offline-node"], 1, b"error: node offline-node is offline since"),
    ],
)
def test_ways_that_are_closed(
    hub: HubInThread, tmp_path: Path, arguments: list[str], code: int, text: bytes
) -> None:
    if "offline-node" in arguments and "offline-node" not in hub.mezctl("nodes", "ls").out:
        hub.do(hub.hub.enroll, "offline-node")
    ProfileStore(tmp_path).save(*hub.hub.profile("root", ("admin", "access"), ("ubuntu",)))
    result = proxy(tmp_path, *arguments)
    assert (result.returncode, result.stdout) == (code, b"")
    assert result.stderr.startswith(text), result.stderr
    assert result.stderr.count(b"\n") == 1
