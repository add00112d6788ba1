# SPDX-License-Identifier: Apache-2.0
"""Rotations as people read them, and as programs do."""

from __future__ import annotations

from typing import Any

from mezite.api.pb.mezite.v1 import authorities_pb2 as pb
from mezite.cli.terminal.escapes import escape_controls
from mezite.core.durations import format_duration
from mezite.core.timestamps import format_seconds

__all__ = ["rehearsal_lines", "rotation_record", "status_lines", "taken_lines"]

_SAID = {
    "published": "a new key is published; it becomes active when everybody trusts it",
    "requested": "the next key becomes active when everybody has had time to learn of it",
    "activated": "the new key signs from now on",
    "dropped": "the former key is not trusted any more",
    "withdrawn": "rolled back: the new key had not signed anything yet",
    "returned": "rolled back: the former key signs again, the new one stays trusted until what it signed has expired",
}


def taken_lines(taken: pb.RotateResponse | None) -> list[str]:
    """What has been done."""
    if taken is None:
        return []
    return [
        escape_controls(
            f"{one.type}: {_SAID.get(one.step, one.step)}" if one.step else f"not done: {one.error}"
        )
        for one in taken.taken
    ]


def status_lines(status: pb.GetRotationResponse) -> list[str]:
    """Each purpose with its keys, and what a rotation waits for."""
    lines: list[str] = []
    for rotation in status.rotations:
        lines.append(f"{rotation.type}: {_where(rotation)}")
        lines += [f"  {_key(key)}" for key in rotation.keys]
        if rotation.step == "published":
            lines += [f"  {escape_controls(sentence)}" for sentence in rotation.report]
    return lines


def rehearsal_lines(status: pb.GetRotationResponse) -> list[str]:
    """What a rotation would do from here, step by step; nothing is written."""
    lines = ["rehearsal: nothing is changed"]
    for rotation in status.rotations:
        under_way = rotation.step == "published"
        ahead = any(key.state == "next" for key in rotation.keys)
        lines.append(f"{rotation.type}:")
        if not under_way:
            lines.append(
                "  now: the key that is published ahead is asked for"
                if ahead
                else "  now: a new key is published, and sent to all hubs and agents that are online"
            )
        lines += [f"  {escape_controls(sentence)}" for sentence in rotation.report]
        latest = format_seconds(rotation.ready_at_latest_ms // 1000)
        lines.append(f"  by {latest} at the latest: the new key signs, if whoever is online answers")
        overlap = format_duration(rotation.overlap_ms // 1000)
        kept = f"for {overlap} after that" if rotation.overlap_ms else "for ever"
        lines.append(f"  the former key stays trusted {kept}")
    return lines


def rotation_record(status: pb.GetRotationResponse, taken: pb.RotateResponse | None) -> dict[str, Any]:
    """The same for programs."""
    return {
        "taken": [
            {"type": one.type, "step": one.step or None, "error": one.error or None}
            for one in ([] if taken is None else taken.taken)
        ],
        "rotations": [_record(rotation) for rotation in status.rotations],
    }


def _record(rotation: pb.PurposeRotation) -> dict[str, Any]:
    return {
        "type": rotation.type,
        "step": rotation.step,
        "keys": [
            {
                "key_id": key.key_id,
                "state": key.state,
                "created_at": _time(key.created_at_ms),
                "retired_at": _time(key.retired_at_ms),
                "trusted_until": _time(key.trusted_until_ms),
            }
            for key in rotation.keys
        ],
        "ready": rotation.ready,
        "agents": rotation.agents,
        "agents_waiting": [_waiting(one) for one in rotation.agents_waiting],
        "hubs": rotation.hubs,
        "hubs_waiting": [_waiting(one) for one in rotation.hubs_waiting],
        "not_before": _time(rotation.not_before_ms),
        "ready_at_latest": _time(rotation.ready_at_latest_ms),
        "report": list(rotation.report),
    }


def _waiting(one: pb.NotReady) -> dict[str, Any]:
    return {
        "name": one.name,
        "online": one.online,
        "last_seen": _time(one.last_seen_ms),
        "until": _time(one.until_ms),
    }


def _where(rotation: pb.PurposeRotation) -> str:
    if rotation.step == "published":
        return "everybody is ready" if rotation.ready else "the new key waits until everybody is ready"
    return "the former key is still trusted" if rotation.step == "overlap" else "no rotation"


def _key(key: pb.SigningKey) -> str:
    text = f"{key.state:<8}sha256:{key.key_id}  since {_time(key.retired_at_ms or key.created_at_ms)}"
    return f"{text}, trusted until {_time(key.trusted_until_ms)}" if key.trusted_until_ms else text


def _time(milliseconds: int) -> str | None:
    return format_seconds(milliseconds // 1000) if milliseconds else None
