# SPDX-License-Identifier: Apache-2.0
"""Joining a real hub on loopback (threats F3, F6, E8)."""

from __future__ import annotations

from pathlib import Path

import attrs
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from mezite.agent.joining import (
    JoinError,
    JoinParameters,
    _refused,
    check_clock,
    join,
    make_keys,
    public_keys,
)
from mezite.api.client import RpcError, StatusCode
from mezite.api.dialing import ApiConnectError
from mezite.core.certificates.x509_issue import load_certificates
from mezite.core.join_token import parse_join_token
from mezite.net.dialer import DialError
from tests.hub.live_hub import LiveHub, live_hub

NOW = 1_800_000_000_000


async def parameters(hub: LiveHub, **changes: object) -> JoinParameters:
    token = parse_join_token(await hub.join_token())
    made = JoinParameters(
        auth_addr=hub.address("auth"),
        secret=token.secret,
        ca_pin=token.ca_pin,
        node_name="web-1",
        labels={"env": "prod"},
        version="0.1",
        now=hub.sources.now,
    )
    return attrs.evolve(made, **changes)


async def test_a_token_gets_an_identity(tmp_path: Path) -> None:
    async with live_hub(tmp_path) as hub:
        keys = make_keys()
        identity = await join(await parameters(hub), keys)
        assert (identity.node_name, identity.cluster_name) == ("web-1", "test")
        assert f"sha256:{identity.host_ca_pin}" == hub.pin
        certificate = load_certificates(identity.tls_certificate_pem.encode())[0]
        assert certificate.public_key() == load_public(keys)
        assert identity.user_ssh_ca == tuple(hub.hub.ground.authorities.user_ssh_ca_lines)


def load_public(keys: object) -> object:
    return load_pem_public_key(public_keys(keys)[0].encode())


async def test_what_can_go_wrong(tmp_path: Path) -> None:
    async with live_hub(tmp_path) as hub:
        with pytest.raises(ApiConnectError, match="not the one that the CA pin names"):
            await join(await parameters(hub, ca_pin="0" * 64), make_keys())
        with pytest.raises(JoinError, match=r"clock is (10m|9m59s) behind the hub's") as skewed:
            await join(await parameters(hub, now=lambda: hub.sources.now() - 600_000), make_keys())
        assert skewed.value.hint == "set the clock (NTP) and start again"
        with pytest.raises(JoinError) as refused:
            await join(await parameters(hub, secret="A" * 43), make_keys())
        assert (
            refused.value.what == "the hub refused to let this agent join: the join token is not known here"
        )
        assert "mezctl tokens create" in str(refused.value)
        with pytest.raises(ApiConnectError):
            await join(await parameters(hub, auth_addr=hub.address("web")), make_keys())
    with pytest.raises(DialError):
        await join(await parameters_without_hub(), make_keys())


async def parameters_without_hub() -> JoinParameters:
    return JoinParameters(
        auth_addr="127.0.0.1:1",
        secret="A" * 43,
        ca_pin="0" * 64,
        node_name="n",
        labels={},
        version="0.1",
        now=lambda: NOW,
    )


@pytest.mark.parametrize(
    ("off", "text"),
    [(301_000, "5m1s ahead of"), (-301_000, "5m1s behind"), (3_600_000, "1h ahead of")],
)
def test_a_clock_that_is_off_is_told_by_how_much(off: int, text: str) -> None:
    with pytest.raises(JoinError, match=f"this machine's clock is {text} the hub's"):
        check_clock(NOW, NOW + off)


@pytest.mark.parametrize("off", [0, 300_000, -300_000])
def test_five_minutes_are_tolerated(off: int) -> None:
    check_clock(NOW, NOW + off)


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("what: why; do this", "the hub refused to let this agent join: what: why; do this"),
        ("just this", "the hub refused to let this agent join: just this"),
        ("what: why", "the hub refused to let this agent join: what: why"),
        ("what; do this", "the hub refused to let this agent join: what; do this"),
    ],
)
def test_the_hubs_sentence_is_cut_into_its_parts(message: str, shown: str) -> None:
    assert str(_refused(RpcError(StatusCode.PERMISSION_DENIED, message))) == shown


def test_a_secret_is_not_in_the_repr() -> None:
    made = JoinParameters(
        auth_addr="a",
        secret="hush",
        ca_pin="0" * 64,
        node_name="n",
        labels={},
        version="1",
        now=lambda: NOW,
    )
    assert "hush" not in repr(made)
