# SPDX-License-Identifier: Apache-2.0
"""`msh mfa prove` and `msh ssh --mfa-code` up to where ssh would be called."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from mezite.core.rbac.session_mfa import ProvenFactor
from mezite.services.proofs.pending_proof import MAX_WINDOW_S
from mezite.storage import session_proofs
from tests.cli.commands import HubInThread
from tests.cli.mezhub.test_demo import clean_environment
from tests.cli.test_mfa import CLIENT, Somebody, enrol
from tests.hub.live_hub import PASSWORD

NODE = "prove-1"
ROLE = {
    "kind": "role",
    "version": "v1",
    "metadata": {"name": "proving"},
    "spec": {
        "options": {"require_session_mfa": "totp"},
        "allow": {"node_labels": {"*": "*"}, "logins": ["ubuntu"]},
    },
}


@pytest.fixture(scope="module")
def prue(hub: HubInThread, tmp_path_factory: pytest.TempPathFactory) -> Somebody:
    """A user whose sessions on the node `prove-1` need a code."""
    folder = tmp_path_factory.mktemp("prue")
    role = folder / "role.json"
    role.write_text(json.dumps(ROLE))
    assert hub.mezctl("roles", "create", f"--from-file={role}").code == 0
    hub.start_echo(NODE)
    who = Somebody(hub, "prue", folder)
    assert (
        hub.mezctl("users", "create", "prue", "--roles=proving", "--password-stdin", stdin=PASSWORD).code == 0
    )
    assert who.login().code == 0
    hub.do(enrol, hub, who)
    return who


@pytest.mark.parametrize(
    ("options", "code", "text"),
    [
        ([], 2, "error: no nodes given; name them with --nodes, or say which with --labels"),
        (["--nodes=a", "--ttl=x"], 2, "error: --ttl cannot be read"),
        (["--nodes=a", "--ttl=0s"], 2, "error: --ttl cannot be used: it must be longer than 0s"),
        (["--labels=,"], 2, "error: --labels cannot be read"),
        (["--labels=env=moon"], 1, "error: no node of yours has these labels"),
        (["--nodes=nowhere"], 1, "error: nowhere: not found, or you may not log in there so"),
        ([f"--nodes={NODE}", f"--ttl={MAX_WINDOW_S + 1}s"], 1, "error: a factor is good for at most 1h"),
        ([f"--nodes={NODE}", "--mfa-code=000000"], 1, "error: the factor is not good, or was used before"),
    ],
)
def test_what_cannot_be_declared(prue: Somebody, options: list[str], code: int, text: str) -> None:
    result = prue.msh("mfa", "prove", *options)
    assert result.code == code, result.err
    assert result.err.startswith(text), result.err


def test_declared_and_shown(prue: Somebody) -> None:
    result = prue.msh("mfa", "prove", f"--nodes=ubuntu@{NODE}", f"--mfa-code={prue.code()}")
    assert result.code == 0, result.err
    assert result.out == f"sessions on ubuntu@{NODE} need no other factor for 10m\n"


def test_where_none_is_needed(hub: HubInThread, prue: Somebody, tmp_path: Path) -> None:
    hub.sign_in(tmp_path, "easygoing")
    result = hub.msh(tmp_path, "mfa", "prove", f"--nodes={NODE},{NODE}")
    assert result.out == "sessions on 2 nodes need no second factor\n"


@pytest.mark.parametrize("decision", ["approve", "refuse"])
def test_decided_in_the_browser(prue: Somebody, decision: str) -> None:
    """Nobody is at the terminal to be asked: the address is shown, and the browser is waited for."""
    with subprocess.Popen(
        [sys.executable, "-m", "mezite.cli.msh", "mfa", "prove", f"--nodes={NODE}"],
        env=clean_environment() | {"MSH_HOME": str(prue.home)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        told = "".join(process.stderr.readline() for _ in range(3))
        found = re.search(r"/approve#([0-9a-f]{32})\n.*code [A-Z]{4}-[A-Z]{4}", told)
        assert found is not None, told
        prue.hub.do(decide, prue, found[1], decision)
        out, err = process.communicate(timeout=60)
    if decision == "approve":
        assert (process.returncode, out) == (0, f"sessions on {NODE} need no other factor for 10m\n"), err
    else:
        assert (process.returncode, err) == (1, "error: it was refused in the browser\n")


async def decide(who: Somebody, proof_id: str, decision: str) -> None:
    """As the page does, for a user who is logged in there."""
    proofs = who.hub.hub.hub.services.factors.sessions
    if decision == "approve":
        await proofs._prove(await proofs._own(who.name, proof_id, CLIENT), ProvenFactor.TOTP, CLIENT)
        return
    row = await proofs._own(who.name, proof_id, CLIENT)
    await proofs.database.write(
        session_proofs.refuse, token_hash=row.token_hash, user_name=who.name, now=proofs.sources.now()
    )
