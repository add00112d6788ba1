# SPDX-License-Identifier: Apache-2.0
"""`mezctl auth` against a hub. Hosts' SSH keys wait for a day, so nothing happens by itself while this runs."""

from __future__ import annotations

import json

import pytest

from mezite.api.pb.mezite.v1 import authorities_pb2 as pb
from mezite.cli.mezctl.rotation_report import rehearsal_lines, status_lines, taken_lines
from tests.cli.commands import HubInThread

TYPE = "--type=host-ssh"


def test_a_rotation_and_back(hub: HubInThread) -> None:
    rehearsed = hub.mezctl("auth", "rotate", TYPE, "--rehearse").out.splitlines()
    assert rehearsed[:3] == [
        "rehearsal: nothing is changed",
        "host-ssh:",
        "  now: a new key is published, and sent to all hubs and agents that are online",
    ]
    assert rehearsed[-1] == "  the former key stays trusted for 1d15m after that"
    assert hub.mezctl("auth", "rotate", TYPE, "--status").out.splitlines()[0] == "host-ssh: no rotation"

    begun = hub.mezctl("auth", "rotate", TYPE)
    lines = begun.out.splitlines()
    assert lines[0] == "host-ssh: a new key is published; it becomes active when everybody trusts it"
    assert lines[1] == "host-ssh: the new key waits until everybody is ready"
    assert lines[2].startswith("  active  sha256:")
    assert lines[3].startswith("  next    sha256:")
    assert "clients that learned of the keys before may be in use until" in begun.out
    again = hub.mezctl("auth", "rotate", TYPE)
    assert (again.code, again.out.startswith("not done: host-ssh: a rotation is under way")) == (1, True)
    assert "error: nothing was changed: host-ssh: a rotation is under way" in again.err
    assert hub.mezctl("auth", "export", TYPE).out.count("@cert-authority * ssh-ed25519 ") == 2

    back = hub.mezctl("auth", "rotate", TYPE, "--rollback", "--format=json").json
    assert back["taken"] == [{"type": "host-ssh", "step": "withdrawn", "error": None}]
    (rotation,) = back["rotations"]
    assert (rotation["step"], [key["state"] for key in rotation["keys"]]) == ("idle", ["active"])


def test_force_names_what_it_is_for(hub: HubInThread) -> None:
    refused = hub.mezctl("auth", "rotate", "--force")
    assert refused.code == 2
    assert refused.err.startswith("error: --force needs --type: ")
    unknown = hub.mezctl("auth", "rotate", "--type=host-tsl", "--status")
    assert (unknown.code, "there is no key of type host-tsl" in unknown.err) == (1, True)


def test_several_types(hub: HubInThread) -> None:
    found = hub.mezctl(
        "auth", "rotate", "--type=host-ssh,user-ssh", "--type=audit", "--status", "--format=json"
    )
    assert [one["type"] for one in found.json["rotations"]] == ["host-ssh", "user-ssh", "audit"]


def test_the_pin(hub: HubInThread) -> None:
    result = hub.mezctl("auth", "ca-pin")
    assert (result.out, result.err) == (f"{hub.hub.pin}\n", "")
    assert hub.mezctl("auth", "ca-pin", "--format=json").json == {"pin": hub.hub.pin, "pins": [hub.hub.pin]}
    assert hub.mezctl("auth", "rotate", "--type=host-tls").code == 0
    during = hub.mezctl("auth", "ca-pin")
    assert during.out == f"{hub.hub.pin}\n"
    assert during.err.endswith("(next) is trusted too\n")
    assert hub.mezctl("auth", "rotate", "--type=host-tls", "--rollback").code == 0


def test_assertions_keys(hub: HubInThread) -> None:
    jwks = json.loads(hub.mezctl("auth", "export", "--type=app-jwt").out)
    assert [key["alg"] for key in jwks["keys"]] == ["ES256", "ES256"]


def rotation(**changes: object) -> pb.PurposeRotation:
    fields = {"type": "audit", "step": "published", "ready": True, "report": ["all\x1b[2J"]} | changes
    return pb.PurposeRotation(**fields)


@pytest.mark.parametrize(
    ("step", "ready", "said"),
    [
        ("published", True, "everybody is ready"),
        ("published", False, "the new key waits until everybody is ready"),
        ("overlap", False, "the former key is still trusted"),
        ("idle", True, "no rotation"),
    ],
)
def test_where_a_rotation_is(step: str, ready: bool, said: str) -> None:
    lines = status_lines(pb.GetRotationResponse(rotations=[rotation(step=step, ready=ready)]))
    assert lines[0] == f"audit: {said}"
    assert (len(lines) == 2) is (step == "published")
    assert "\x1b" not in "".join(lines), "names are an agent's choice (threat H1)"


def test_rehearsing_on_the_way() -> None:
    lines = rehearsal_lines(pb.GetRotationResponse(rotations=[rotation()]))
    assert not any("now:" in line for line in lines)
    assert lines[-1] == "  the former key stays trusted for ever"
    ahead = rotation(step="idle", keys=[pb.SigningKey(state="next")])
    assert "  now: the key that is published ahead is asked for" in rehearsal_lines(
        pb.GetRotationResponse(rotations=[ahead])
    )


def test_what_was_done() -> None:
    answer = pb.RotateResponse(taken=[{"type": "a", "step": "dropped"}, {"type": "b", "error": "b: no"}])
    assert taken_lines(answer) == ["a: the former key is not trusted any more", "not done: b: no"]
    assert taken_lines(None) == []
