# SPDX-License-Identifier: Apache-2.0
"""`mezhub doctor` beside a hub that runs, and on a machine where none does."""

from __future__ import annotations

import json
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from mezite.core.apps.app import App
from mezite.core.secret import Secret
from mezite.hub.ground import open_ground
from mezite.services.sources import system_sources
from mezite.storage import apps
from mezite.testing.ports import free_address
from tests.cli.commands import HubInThread, Result, run
from tests.e2e.harness import Daemon, clean_environment, program
from tests.hub.live_hub import CLUSTER, hub_config

PORTS = ("web", "ssh", "tunnel", "auth", "diag")


def config_file(folder: Path, data_dir: Path, addresses: dict[str, str], **proxy: object) -> Path:
    path = folder / "mezhub.json"
    listeners = {
        "listen_addr": addresses["web"],
        "ssh_listen_addr": addresses["ssh"],
        "tunnel_listen_addr": addresses["tunnel"],
    }
    settings = {
        "cluster_name": CLUSTER,
        "data_dir": str(data_dir),
        "auth": {"listen_addr": addresses["auth"]},
        "proxy": listeners | proxy,
        "diag": {"listen_addr": addresses["diag"]},
    }
    path.write_text(json.dumps(settings))
    return path


def doctor(path: Path, *arguments: str, **environ: str) -> Result:
    return run("mezhub", "doctor", f"--config={path}", "--format=json", *arguments, environ=environ)


def steps(result: Result) -> dict[str, dict[str, Any]]:
    return {step["step"]: step for step in result.json["steps"]}


@pytest.fixture
def nowhere() -> dict[str, str]:
    """Addresses on which nothing listens."""
    return {name: free_address() for name in PORTS}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """What a hub leaves behind."""

    async def make() -> None:
        async with open_ground(hub_config(tmp_path / "data"), system_sources()):
            pass

    trio.run(make)
    return tmp_path / "data"


@contextmanager
def somebody_else() -> Iterator[str]:
    """A server of another kind that holds a port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    stream, _ = listener.accept()
                except OSError:
                    return
                with stream:
                    stream.sendall(b"220 mail.example.com ESMTP\r\n")

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_beside_a_hub_that_runs(hub: HubInThread, tmp_path: Path) -> None:
    for row in hub.mezctl("apps", "ls", "--format=json").json:
        hub.mezctl("apps", "rm", row["name"])
    addresses = {name: hub.hub.address(name) for name in PORTS}
    path = config_file(tmp_path, Path(hub.hub.config.data_dir), addresses, public_addr=hub.hub.address("web"))
    result = doctor(path, "--idle=1s")
    assert result.err == ""
    assert result.code == 0
    found = steps(result)
    for name in PORTS:
        assert found[f"port: {name}"]["detail"] == f"{addresses[name]} is held by a hub that runs"
    assert found["CA keys"]["detail"] == f"pin {hub.hub.pin}"
    assert found["database"]["detail"].endswith("up to date")
    assert found["applications"]["detail"] == "none is registered"
    assert found["web: TLS"]["detail"].startswith("ended by the hub: ")
    assert "`mezctl doctor --lb`" in found["web: client address"]["detail"]
    assert "listen mezite_web" in result.json["haproxy"]


async def store_app(folder: Path, app: App) -> None:
    async with open_ground(hub_config(folder), system_sources()) as ground:
        await ground.database.write(apps.insert, app=app, revision="r1", now=1)


def test_applications_where_no_hub_runs(tmp_path: Path, data_dir: Path, nowhere: dict[str, str]) -> None:
    """Their addresses are looked at, and not who is connected."""
    app = App(name="wiki", uri="http://wiki", public_addr="wiki.apps.example.com", agent_hostnames=("n-1",))
    trio.run(store_app, data_dir, app)
    well = doctor(config_file(tmp_path, data_dir, nowhere, apps_domain="apps.example.com"))
    assert steps(well)["applications"]["detail"] == (
        "1 registered, health of 0 checked, agents not looked at: the hub does not run"
    )
    moved = doctor(config_file(tmp_path, data_dir, nowhere, apps_domain="apps.example.org"))
    assert (moved.code, moved.json["first_broken"]) == (1, "application wiki")
    assert "is not below proxy.apps_domain apps.example.org" in steps(moved)["application wiki"]["detail"]
    without = doctor(config_file(tmp_path, data_dir, nowhere))
    assert steps(without)["applications"]["remedy"] == "set proxy.apps_domain, or remove them"


def test_before_the_first_start(tmp_path: Path, nowhere: dict[str, str]) -> None:
    result = doctor(config_file(tmp_path, tmp_path / "new", nowhere, public_addr="hub.example.com"))
    assert (result.code, result.err) == (0, "")
    found = steps(result)
    assert found["data directory"]["detail"].endswith("is made at the first start")
    assert found["CA keys"]["detail"] == "made at the first start"
    assert found["port: web"]["detail"] == f"{nowhere['web']} is free"
    assert found["public address"]["detail"] == "the hub does not run"
    assert not (tmp_path / "new").exists()


def test_a_port_that_somebody_else_has(tmp_path: Path, nowhere: dict[str, str]) -> None:
    with somebody_else() as address:
        result = doctor(config_file(tmp_path, tmp_path / "new", nowhere | {"tunnel": address}))
    assert result.code == 1
    assert result.json["first_broken"] == "port: tunnel"
    assert steps(result)["port: tunnel"]["detail"] == f"{address} is in use by something else (plain)"
    assert "proxy.tunnel_listen_addr" in steps(result)["port: tunnel"]["remedy"]


def test_an_address_that_this_machine_does_not_have(tmp_path: Path, nowhere: dict[str, str]) -> None:
    result = doctor(config_file(tmp_path, tmp_path / "new", nowhere | {"ssh": "192.0.2.1:3023"}))
    assert result.json["first_broken"] == "port: ssh"
    assert "check proxy.ssh_listen_addr" in steps(result)["port: ssh"]["remedy"]


def test_a_data_directory_that_others_can_write(
    tmp_path: Path, data_dir: Path, nowhere: dict[str, str]
) -> None:
    data_dir.chmod(0o777)
    result = doctor(config_file(tmp_path, data_dir, nowhere))
    assert result.json["first_broken"] == "data directory"
    assert steps(result)["data directory"]["remedy"] == f"chmod 700 {data_dir}"
    assert steps(result)["database"]["outcome"] == "skipped"


def test_a_data_directory_that_is_a_file(tmp_path: Path, nowhere: dict[str, str]) -> None:
    (tmp_path / "file").touch()
    result = doctor(config_file(tmp_path, tmp_path / "file", nowhere))
    assert steps(result)["data directory"]["detail"] == f"{tmp_path / 'file'} is not a directory"


def test_a_database_of_a_later_version(tmp_path: Path, data_dir: Path, nowhere: dict[str, str]) -> None:
    with sqlite3.connect(data_dir / "mezhub.db") as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    result = doctor(config_file(tmp_path, data_dir, nowhere))
    assert result.json["first_broken"] == "database"
    assert "its schema 9999 is newer" in steps(result)["database"]["detail"]


def test_a_database_that_is_none(tmp_path: Path, data_dir: Path, nowhere: dict[str, str]) -> None:
    (data_dir / "mezhub.db").write_bytes(b"not a database" * 1000)
    result = doctor(config_file(tmp_path, data_dir, nowhere))
    assert result.json["first_broken"] == "database"
    assert steps(result)["database"]["remedy"] == "check database.driver and database.url"


def test_keys_that_cannot_be_opened(tmp_path: Path, nowhere: dict[str, str]) -> None:
    async def make() -> None:
        config = hub_config(tmp_path / "data", ca_key_passphrase=Secret("a long passphrase"))
        async with open_ground(config, system_sources()):
            pass

    trio.run(make)
    path = config_file(tmp_path, tmp_path / "data", nowhere)
    result = doctor(path)
    assert result.json["first_broken"] == "CA keys"
    assert "ca_key_passphrase" in steps(result)["CA keys"]["remedy"]
    assert doctor(path, MEZITE_CA_KEY_PASSPHRASE="a long passphrase").code == 0


def test_a_configuration_that_cannot_be_used(tmp_path: Path, nowhere: dict[str, str]) -> None:
    path = config_file(tmp_path, tmp_path / "new", nowhere, tls_mood="off")
    result = doctor(path)
    assert result.code == 2
    assert "did you mean" in result.err or "tls_mode" in result.err


def test_a_silence_that_cannot_be_read(tmp_path: Path, nowhere: dict[str, str]) -> None:
    assert doctor(config_file(tmp_path, tmp_path / "new", nowhere), "--idle=soon").code == 2


def test_beside_a_hub_with_one_port(tmp_path: Path, nowhere: dict[str, str]) -> None:
    """The hub runs in a process of its own here."""
    settings = {"single_port": True, "public_addr": nowhere["web"]}
    path = config_file(tmp_path, tmp_path / "data", nowhere, **settings)
    hub = Daemon(program("mezhub", "start", "--config", str(path)), clean_environment(), tmp_path / "hub.log")
    try:
        hub.wait_for(lambda line: "hub ready" in line)
        result = doctor(path, "--idle=1s")
    finally:
        hub.stop()
    assert result.err == ""
    assert steps(result)["port: web"]["detail"] == f"{nowhere['web']} is held by a hub that runs"
    assert steps(result)["tunnel: TLS"]["detail"].startswith("ended by the hub: ")
    assert steps(result)["auth: HTTP/2 call"]["outcome"] == "ok"
