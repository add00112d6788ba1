# SPDX-License-Identifier: Apache-2.0
"""Threat A12: the agent re-checks what the hub allowed, with the certificate in its own hand."""

from __future__ import annotations

import itertools

import attrs
import pytest

from mezite.agent.node_policy import HubDecision, NodePolicyOfConnection
from mezite.core.certificates.keys import generate_ed25519
from mezite.core.mux.header import ChannelHeader
from mezite.ssh.policy import ChannelKind, Permissions, Refusal, SshGrant
from mezite.testing.certificates import DAY, ThrowAwayCa

NOW = 1_800_000_000
CA = ThrowAwayCa(NOW)
FOREIGN = ThrowAwayCa(NOW)
KEY = generate_ed25519()
DECISION = HubDecision(
    user="alice",
    logins=frozenset({"ubuntu", "deploy"}),
    permissions=frozenset({"port_forwarding", "agent_forwarding", "file_copy"}),
    decision_id="d-1",
    connection_id="c-1",
    client_ip="192.0.2.7",
    client_port=50000,
)
EVERYTHING = Permissions(pty=True, port_forwarding=True, agent_forwarding=True, file_copy=True)


def policy(
    decision: HubDecision = DECISION, *, now: int = NOW, own_login: str | None = None
) -> NodePolicyOfConnection:
    return NodePolicyOfConnection(
        decision, trusted_cas=lambda: [CA.user_ssh_blob], now=lambda: now * 1000, own_login=own_login
    )


def certificate(ca: ThrowAwayCa = CA, **changes: object) -> bytes:
    return ca.user_certificate(KEY.public_key(), **changes)


def grant(permissions: Permissions = EVERYTHING) -> SshGrant:
    return SshGrant(user="alice", login="ubuntu", permissions=permissions, expires_at=NOW + DAY)


def test_what_fits_is_granted() -> None:
    granted = policy().authenticate("ubuntu", certificate())
    assert isinstance(granted, SshGrant)
    assert (granted.user, granted.login) == ("alice", "ubuntu")
    assert granted.permissions == EVERYTHING
    assert granted.expires_at == NOW + DAY
    assert granted.force_command is None
    assert granted.certificate_id.isdigit()


# The hub's decision x the certificate: each cell that is not a grant, and whether its holder hears why.
REFUSALS = {
    "another CA": ({}, {"ca": FOREIGN}, "ubuntu", "", False),
    "no certificate at all": ({}, {"blob": b"\0\0\0\x0bssh-ed25519"}, "ubuntu", "", False),
    "expired": ({}, {"valid_before": NOW}, "ubuntu", "expired", True),
    "not valid yet": ({}, {"valid_after": NOW + 60}, "ubuntu", "valid", True),
    "a login that the certificate lacks": (
        {},
        {},
        "deploy",
        "login deploy is not allowed here: you may use deploy, ubuntu",
        True,
    ),
    "a login that the hub has not allowed": (
        {"logins": frozenset({"deploy"})},
        {},
        "ubuntu",
        "login ubuntu is not allowed here: you may use deploy",
        True,
    ),
    "the hub allowed no login": (
        {"logins": frozenset()},
        {},
        "ubuntu",
        "login ubuntu is not allowed here: you may use none",
        True,
    ),
    "neither allows it": (
        {"logins": frozenset()},
        {},
        "root",
        "login root is not allowed here: you may use none",
        True,
    ),
    "another user's certificate": (
        {"user": "bob"},
        {},
        "ubuntu",
        "the hub let bob through, this certificate is alice's",
        True,
    ),
    "another address than the certificate is pinned to": (
        {},
        {"critical_options": {"source-address": "198.51.100.1/32"}},
        "ubuntu",
        "pinned to",
        True,
    ),
}


@pytest.mark.parametrize("case", list(REFUSALS))
def test_what_does_not_fit_is_refused(case: str) -> None:
    decided, certified, login, text, explained = REFUSALS[case]
    changes = dict(certified)
    blob = changes.pop("blob", None) or certificate(changes.pop("ca", CA), **changes)
    refusal = policy(attrs.evolve(DECISION, **decided)).authenticate(login, blob)
    assert isinstance(refusal, Refusal)
    assert text in refusal.message
    assert refusal.explain is explained


def test_an_agent_that_is_not_root_serves_one_login() -> None:
    assert isinstance(policy(own_login="ubuntu").authenticate("ubuntu", certificate()), SshGrant)
    refusal = policy(own_login="svc").authenticate("ubuntu", certificate())
    assert isinstance(refusal, Refusal)
    assert refusal.message == "this agent runs as svc and can serve only that login"


EXTENSIONS = {
    "pty": "permit-pty",
    "port_forwarding": "permit-port-forwarding",
    "agent_forwarding": "permit-agent-forwarding",
}


@pytest.mark.parametrize(
    ("permission", "in_certificate", "from_hub"),
    list(itertools.product(["port_forwarding", "agent_forwarding"], [False, True], [False, True])),
)
def test_permissions_intersect(permission: str, in_certificate: bool, from_hub: bool) -> None:
    extensions = tuple(name for key, name in EXTENSIONS.items() if key != permission or in_certificate)
    allowed = {"port_forwarding", "agent_forwarding", "file_copy"} - (set() if from_hub else {permission})
    granted = policy(attrs.evolve(DECISION, permissions=frozenset(allowed))).authenticate(
        "ubuntu", certificate(extensions=extensions)
    )
    assert isinstance(granted, SshGrant)
    expected = attrs.evolve(EVERYTHING, **{permission: in_certificate and from_hub})
    assert granted.permissions == expected


def test_a_terminal_is_the_certificates_business_and_file_copy_the_hubs() -> None:
    granted = policy(attrs.evolve(DECISION, permissions=frozenset())).authenticate(
        "ubuntu", certificate(extensions=())
    )
    assert isinstance(granted, SshGrant)
    assert granted.permissions == Permissions()


def test_a_forced_command_is_kept() -> None:
    granted = policy().authenticate("ubuntu", certificate(critical_options={"force-command": "uptime"}))
    assert isinstance(granted, SshGrant)
    assert granted.force_command == "uptime"


# (kind, target, the permission it needs)
CHANNELS = [
    (ChannelKind.SESSION, "", None),
    (ChannelKind.SHELL, "", None),
    (ChannelKind.EXEC, "id", None),
    (ChannelKind.SUBSYSTEM, "netconf", None),
    (ChannelKind.SUBSYSTEM, "sftp", "file_copy"),
    (ChannelKind.PTY, "xterm", "pty"),
    (ChannelKind.DIRECT_TCPIP, "db:5432", "port_forwarding"),
    (ChannelKind.TCPIP_FORWARD, "127.0.0.1:0", "port_forwarding"),
    (ChannelKind.AGENT_FORWARDING, "", "agent_forwarding"),
]


@pytest.mark.parametrize(("kind", "target", "needs"), CHANNELS)
def test_each_channel_needs_its_permission(kind: ChannelKind, target: str, needs: str | None) -> None:
    assert policy().authorize_channel(grant(), kind, target) is None
    refusal = policy().authorize_channel(grant(Permissions()), kind, target)
    if needs is None:
        assert refusal is None
        return
    assert refusal == Refusal(message=f"your roles do not allow {kind.value}", explain=True)
    only = Permissions(**{needs: True})
    assert policy().authorize_channel(grant(only), kind, target) is None


def test_every_kind_of_channel_is_in_the_table() -> None:
    assert {kind for kind, _target, _needs in CHANNELS} == set(ChannelKind)


@pytest.mark.parametrize(("now", "refused"), [(NOW + DAY - 1, False), (NOW + DAY, True)])
def test_no_channel_after_the_certificate_has_expired(now: int, refused: bool) -> None:
    refusal = policy(now=now).authorize_channel(grant(), ChannelKind.EXEC, "id")
    assert (refusal is not None) is refused
    if refusal is not None:
        assert refusal.message == "your certificate has expired: run msh login"


def test_the_decision_comes_with_the_header() -> None:
    header = ChannelHeader(
        kind="ssh",
        target="web-1",
        user="alice",
        client_address="[2001:db8::1]:4711",
        trace_id="c-9",
        attributes={"logins": "ubuntu,,deploy", "permissions": "file_copy", "decision_id": "d-9"},
    )
    assert HubDecision.of_header(header) == HubDecision(
        user="alice",
        logins=frozenset({"ubuntu", "deploy"}),
        permissions=frozenset({"file_copy"}),
        decision_id="d-9",
        connection_id="c-9",
        client_ip="2001:db8::1",
        client_port=4711,
    )


@pytest.mark.parametrize("address", ["", "192.0.2.7", "192.0.2.7:", "192.0.2.7:http", "192.0.2.7:999999"])
def test_what_is_missing_in_the_header_is_not_allowed(address: str) -> None:
    decision = HubDecision.of_header(ChannelHeader(kind="ssh", client_address=address))
    assert decision.client_port == 0
    assert (decision.logins, decision.permissions, decision.user) == (frozenset(), frozenset(), "")
    assert isinstance(policy(decision).authenticate("ubuntu", certificate()), Refusal)


@pytest.mark.parametrize(
    ("said", "means"), [(None, 0), ("0", 0), ("600", 600), ("10m", 1), ("-1", 1), ("9" * 11, 1)]
)
def test_an_idle_timeout_that_cannot_be_read_is_the_strictest(said: str | None, means: int) -> None:
    attributes = {} if said is None else {"idle_timeout": said}
    header = ChannelHeader(kind="ssh", target="web-1", attributes=attributes)
    assert HubDecision.of_header(header).idle_timeout == means
