# SPDX-License-Identifier: Apache-2.0
"""`msh device` and `mezctl devices`, and logins from a device."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from mezite.cli.hub_client.profile_store import ProfileStore
from mezite.cli.msh.device_key import DeviceKey
from mezite.cli.terminal.errors import CliError
from mezite.core.rbac.label_matcher import LabelSelector
from mezite.core.rbac.role_document import role_document
from mezite.core.rbac.role_options import RoleOptions
from mezite.core.rbac.roles import Conditions, Role
from tests.cli.commands import HubInThread, Result
from tests.hub.live_hub import PASSWORD

NODE = "devices-only"
STRICT = Role(
    name="device-needed",
    options=RoleOptions(require_trusted_device=True),
    allow=Conditions(node_labels=LabelSelector.parse({"*": "*"}), logins=("ubuntu",)),
)


def login(hub: HubInThread, home: Path) -> Result:
    where = ["--proxy", hub.hub.address("web"), "--ca-pin", hub.hub.pin, "--user=at-a-desk"]
    result = hub.msh(home, "login", *where, "--password-stdin", stdin=PASSWORD)
    assert result.code == 0, result.err
    return result


def nodes(hub: HubInThread, home: Path) -> list[str]:
    return [node["name"] for node in hub.msh(home, "ls", "--format=json").json]


def test_from_enrolling_to_removing(hub: HubInThread, tmp_path: Path) -> None:
    role = tmp_path / "role.yaml"
    role.write_text(json.dumps(role_document(STRICT)))
    assert hub.mezctl("roles", "create", f"--from-file={role}").code == 0
    create = hub.hub.hub.ground.accounts.create
    hub.do(create, "at-a-desk", roles=("device-needed",), traits={}, password=PASSWORD, by="test")
    hub.start_echo(NODE)
    home = tmp_path / "home"
    assert "  device  " not in login(hub, home).err
    assert nodes(hub, home) == []
    enrolled = hub.msh(home, "device", "enroll", "--name=laptop")
    assert enrolled.code == 0, enrolled.err
    (device,) = hub.msh(home, "device", "ls", "--format=json").json
    assert (device["name"], device["state"], device["user"]) == ("laptop", "pending", "at-a-desk")
    assert enrolled.out == f"device {device['id']} (laptop) waits for approval\n"
    (key,) = home.rglob("device.json")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    again = hub.msh(home, "device", "enroll")
    assert (again.code, "enrolled already" in again.err) == (1, True)
    assert "not trusted: it waits for approval" in login(hub, home).err
    assert nodes(hub, home) == []
    pending = hub.mezctl("devices", "ls", "--pending", "--format=json").json
    assert device["id"] in [each["id"] for each in pending]
    approved = hub.mezctl("devices", "approve", device["id"])
    assert approved.out == f"device {device['id']} (laptop) of at-a-desk is trusted\n"
    assert f"  device  {device['id']}" in login(hub, home).err
    assert NODE in nodes(hub, home)
    assert "device_id" not in (home / "current").read_text()
    # The same user on another machine.
    elsewhere = tmp_path / "elsewhere"
    login(hub, elsewhere)
    assert nodes(hub, elsewhere) == []
    # Signing out keeps the device.
    assert hub.msh(home, "logout").code == 0
    assert f"  device  {device['id']}" in login(hub, home).err
    removed = hub.mezctl("devices", "rm", device["id"])
    assert removed.out == f"device {device['id']} removed\n"
    assert nodes(hub, home) == []
    assert "not trusted" in login(hub, home).err
    gone = hub.msh(home, "device", "rm", device["id"])
    assert (gone.code, "not found" in gone.err) == (1, True)
    key.unlink()
    second = hub.msh(home, "device", "enroll", "--name=second")
    assert second.code == 0, second.err
    identifier = second.out.split()[1]
    assert hub.msh(home, "device", "rm", identifier).out == f"device {identifier} removed\n"
    assert not key.exists()


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"id": "x", "key": "y"}', '{"id": "x", "key": 1}'])
def test_a_damaged_key(tmp_path: Path, text: str) -> None:
    store = ProfileStore(tmp_path)
    DeviceKey.make().save(store, "hub", "alice")
    assert DeviceKey.load(store, "hub", "alice") is not None
    (tmp_path / "hub" / "alice" / "device.json").write_text(text)
    with pytest.raises(CliError, match="it is damaged"):
        DeviceKey.load(store, "hub", "alice")
    DeviceKey.forget(store, "hub", "alice")
    assert DeviceKey.load(store, "hub", "alice") is None


def test_a_key_that_cannot_be_read_or_written(tmp_path: Path) -> None:
    store = ProfileStore(tmp_path)
    (tmp_path / "hub" / "alice" / "device.json").mkdir(parents=True)
    with pytest.raises(CliError, match="cannot read"):
        DeviceKey.load(store, "hub", "alice")
    with pytest.raises(CliError, match="cannot write"):
        DeviceKey.make().save(store, "hub", "alice")
