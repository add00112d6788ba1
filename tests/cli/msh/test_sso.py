# SPDX-License-Identifier: Apache-2.0
"""`msh login --auth` against a hub and a provider, with a browser here and with one elsewhere."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
import webbrowser
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError

import pytest
import trio

from mezite.cli.hub_client import sso_sign_in
from mezite.cli.hub_client.profile_store import ProfileStore
from mezite.cli.hub_client.sso_sign_in import check_connector, has_browser
from tests.cli.commands import HubInThread
from tests.cli.msh import sso_browser
from tests.cli.msh.sso_browser import Browser
from tests.services.sso.identity_provider import FakeOidc, FakeProvider, serving

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def idp(hub: HubInThread, tmp_path_factory: pytest.TempPathFactory) -> Iterator[FakeProvider]:
    """A provider in the hub's own loop, and its connector."""
    stop = trio.Event()

    async def run(*, task_status: trio.TaskStatus[FakeProvider]) -> None:
        async with serving(FakeOidc, lambda: int(time.time())) as provider:
            task_status.started(provider)
            await stop.wait()

    provider = hub.do(hub.nursery.start, run)
    file = tmp_path_factory.mktemp("sso") / "connector.yaml"
    file.write_text(json.dumps(provider.document()))
    created = hub.mezctl("connectors", "create", f"--from-file={file}")
    assert created.code == 0, created.err
    provider.person.update(preferred_username="sue", sub="sue")
    yield provider
    assert hub.mezctl("connectors", "delete", "idp").code == 0
    trio.from_thread.run_sync(stop.set, trio_token=hub.token)


@contextmanager
def started(
    hub: HubInThread, home: Path, *options: str, connector: str = "idp", **environ: str
) -> Iterator[subprocess.Popen[str]]:
    """`msh login --auth`, running."""
    where = [f"--proxy={hub.hub.address('web')}", f"--ca-pin={hub.hub.pin}"]
    cleared = {
        key: value
        for key, value in os.environ.items()
        if key not in ("BROWSER", "DISPLAY", "WAYLAND_DISPLAY")
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "mezite.cli.msh", "login", *where, f"--auth={connector}", *options],
        cwd=ROOT,
        env={**cleared, "MSH_HOME": str(home), **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def read_until(process: subprocess.Popen[str], pattern: str) -> str:
    """What the first line says that has this."""
    assert process.stderr is not None
    seen = ""
    for line in process.stderr:
        seen += line
        if found := re.search(pattern, line):
            return found[0]
    raise AssertionError(seen)


def check_signed_in(hub: HubInThread, home: Path) -> None:
    current = ProfileStore(home).current()
    assert (current.user, current.cluster) == ("sue", "test")
    status = hub.msh(home, "status", "--format=json").json
    assert (status["roles"], status["logins"]) == (["access"], ["sue"])
    assert hub.msh(home, "ls").code == 0


def test_a_browser_opens_and_brings_the_code(hub: HubInThread, idp: FakeProvider, tmp_path: Path) -> None:
    browser = f"{sys.executable} {sso_browser.__file__} %s"
    with started(hub, tmp_path, BROWSER=browser) as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "logged in to test as sue" in said
    check_signed_in(hub, tmp_path)


def test_the_url_is_printed_and_good_once(hub: HubInThread, idp: FakeProvider, tmp_path: Path) -> None:
    with started(hub, tmp_path) as process:
        url = read_until(process, "https://[^ ]*/start\\?login=[0-9a-f]{64}")
        browser = Browser()
        assert "goes on by itself" in browser.open(url)
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
        with pytest.raises(HTTPError, match="404"):
            Browser().open(url)
    check_signed_in(hub, tmp_path)


def test_a_code_entered_elsewhere(hub: HubInThread, idp: FakeProvider, tmp_path: Path) -> None:
    with started(hub, tmp_path, "--no-browser", "--ttl=1h") as process:
        url = read_until(process, "https://[^ ]*/sso/device").strip()
        code = read_until(process, "[A-Z]{4}-[A-Z]{4}")
        browser = Browser()
        browser.open(url)
        assert "127.0.0.1" in browser.open(f"{url}?code={code}")
        assert "It will act as sue" in browser.follow("Sign in with idp")
        assert "goes on by itself" in browser.answer("allow")
        _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    check_signed_in(hub, tmp_path)


def test_somebody_says_no(hub: HubInThread, idp: FakeProvider, tmp_path: Path) -> None:
    with started(hub, tmp_path, "--no-browser") as process:
        code = read_until(process, "[A-Z]{4}-[A-Z]{4}")
        browser = Browser()
        browser.open(f"https://{hub.hub.address('web')}/sso/device?code={code}")
        browser.follow("Sign in with idp")
        assert "gets nothing" in browser.answer("refuse")
        _, said = process.communicate(timeout=60)
    assert (process.returncode, said.splitlines()[-1]) == (
        1,
        "error: the person who was asked did not allow this sign-in",
    )
    assert not (tmp_path / "current").exists()


def login(hub: HubInThread, home: Path, *options: str) -> Any:
    return hub.msh(home, "login", f"--proxy={hub.hub.address('web')}", f"--ca-pin={hub.hub.pin}", *options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--auth=ipd"], "error: no connector 'ipd' at this hub; did you mean idp?"),
        (["--auth=zzz"], "error: no connector 'zzz' at this hub; there are idp"),
        (["--auth=idp", "--user=sue"], "error: --user and --auth exclude each other: who you are is asked"),
        (["--auth=idp", "--password-stdin"], "error: --password-stdin and --auth exclude each other"),
        (
            ["--auth=idp", "--request-id=x"],
            "error: --request-id and --auth exclude each other; log in, then run",
        ),
    ],
)
def test_what_does_not_go_together(
    hub: HubInThread, idp: FakeProvider, tmp_path: Path, options: list[str], said: str
) -> None:
    result = login(hub, tmp_path, *options)
    assert (result.code, result.err.startswith(said)) == (2, True), result.err


def test_a_hub_without_connectors() -> None:
    with pytest.raises(Exception, match="there is none: leave --auth away"):
        check_connector({}, "idp")


def test_nobody_comes(
    hub: HubInThread, idp: FakeProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(sso_sign_in, "SIGN_IN_SECONDS", 0.5)
    monkeypatch.setattr(webbrowser, "open", opened.append)
    where = [f"--proxy={hub.hub.address('web')}", f"--ca-pin={hub.hub.pin}"]
    for more in ([], ["--no-browser"]):
        result = hub.msh(tmp_path, "login", *where, "--auth=idp", *more, BROWSER="x")
        assert "error: cannot log in: nobody has signed in within 10 minutes" in result.err


def test_which_browsers_count() -> None:
    assert has_browser({"DISPLAY": ":0"})
    assert has_browser({}) == (sys.platform == "darwin")


def test_mezctl_tries_the_connector(hub: HubInThread, idp: FakeProvider, tmp_path: Path) -> None:
    claims = '{"preferred_username": "sue", "groups": ["platform"]}'
    tried = hub.mezctl("connectors", "test", "idp", "--claims=-", stdin=claims)
    assert tried.code == 0, tried.err
    lines = tried.out.splitlines()
    assert lines[0] == "ok: client secret: is there"
    assert lines[4] == "ok: claims: user sue, roles access"
    assert lines[5:7] == ["a browser would go to", f"  {idp.url}/authorize?{lines[6].partition('?')[2]}"]
    assert lines[7] == "trait logins: sue"
    answer = hub.mezctl("connectors", "test", "idp", "--claims=-", "--format=json", stdin=claims).json
    assert (answer["user"], answer["roles"], answer["traits"]) == ("sue", ["access"], {"logins": ["sue"]})
    (tmp_path / "claims.json").write_text("{}")
    failed = hub.mezctl("connectors", "test", "idp", f"--claims={tmp_path / 'claims.json'}")
    assert (failed.code, failed.err) == (1, "error: connector idp: claims failed; see above\n")
    assert "FAILED: claims: the provider names no preferred_username" in failed.out
    assert hub.mezctl("connectors", "test", "idp", "--format=json").json["user"] is None
