# SPDX-License-Identifier: Apache-2.0
"""Devices: proven, approved, required, removed. Threats E7 to E10 for the proof."""

import base64
import json

import attrs
import pytest

from mezite.core.certificates.keys import generate_ed25519, generate_p256
from mezite.core.certificates.ssh_public_key import authorized_key_line, public_key_blob
from mezite.core.device_proof import DevicePurpose, certified_keys, sign_proof
from mezite.core.rbac.label_matcher import LabelSelector
from mezite.core.rbac.role_document import role_document
from mezite.core.rbac.role_options import RoleOptions
from mezite.core.rbac.roles import Conditions, Role
from mezite.services.access.authorization import AccessContext, Resource, authorize
from mezite.services.errors import (
    AccessDeniedError,
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    TooManyRequestsError,
)
from mezite.services.identity.identities import with_device
from mezite.services.identity.refresh import refresh
from mezite.services.users.devices import CHALLENGE_MS, MAX_DEVICES, DeviceProof
from tests.services.world import CLIENT, CLUSTER, SSH_PUBLIC_LINE, TLS_PUBLIC_PEM

KEYS = certified_keys(SSH_PUBLIC_LINE, TLS_PUBLIC_PEM.decode())
STRICT = Role(
    name="strict",
    options=RoleOptions(require_trusted_device=True),
    allow=Conditions(node_labels=LabelSelector.parse({"*": "*"}), logins=("ubuntu",)),
)


@attrs.define(eq=False)
class Desk:
    """A user with a role that needs a trusted device, and a key."""

    world: object
    alice: object
    root: object
    key: object

    async def proof(self, purpose, about, *, device_id="", who=None, cluster=CLUSTER, user="alice"):
        challenge = await self.world.devices.begin(who or self.alice)
        signature = sign_proof(self.key, purpose, cluster, user, challenge, about)
        return shown(device_id, challenge, signature)

    async def enroll(self, name="laptop"):
        line = authorized_key_line(public_key_blob(self.key.public_key()))
        proof = await self.proof(DevicePurpose.ENROLL, name)
        return await self.world.devices.enroll(self.alice, name, line, proof, client_address=CLIENT)

    async def trusted(self):
        device = await self.enroll()
        return await self.world.devices.approve(self.root, device.device_id, client_address=CLIENT)

    async def at(self, device):
        """The identity behind the certificate of a login that has proven this device."""
        proof = await self.proof(DevicePurpose.LOGIN, KEYS, device_id=device.device_id)
        proven = await self.world.devices.prove(self.alice, proof, KEYS, client_address=CLIENT)
        issued = await self.world.issue(proven)
        return issued, await self.world.by_certificate(issued)


def shown(device_id, challenge, signature):
    return DeviceProof(
        device_id=device_id, challenge=challenge, signature=base64.b64encode(signature).decode()
    )


@pytest.fixture(params=[generate_ed25519, generate_p256], ids=["ed25519", "p256"])
async def any_desk(world, request):
    return await make_desk(world, request.param())


@pytest.fixture
async def desk(world):
    return await make_desk(world, generate_ed25519())


async def make_desk(world, key):
    await world.roles.put(json.dumps(role_document(STRICT)), by="root", client_address=CLIENT)
    alice = await world.user("alice", ("strict",))
    return Desk(world, alice, await world.user("root", ("admin",)), key)


def may(identity, login=None):
    context = AccessContext(client_address=CLIENT, decision_id="d", login=login)
    return authorize(identity, "nodes.connect", Resource(kind="node", name="web-1"), context)


async def test_from_enrolling_to_removing(any_desk):
    desk = any_desk
    refused = may(desk.alice)
    assert (refused.allowed, "trusted device" in refused.reason) == (False, True)
    device = await desk.enroll()
    assert (device.user_name, device.name, device.approved_at) == ("alice", "laptop", None)
    issued, identity = await desk.at(device)
    # It waits for approval: the login goes through, without a device.
    assert (issued.device_id, identity.device_id, may(identity).allowed) == ("", "", False)
    await desk.world.devices.approve(desk.root, device.device_id, client_address=CLIENT)
    issued, identity = await desk.at(device)
    assert issued.device_id == identity.device_id == device.device_id
    by_ssh = await desk.world.by_ssh_certificate(issued)
    for each in (identity, by_ssh):
        assert may(each).allowed
        assert may(each, "ubuntu").allowed
    # What is issued for the certificate names the device too (E9).
    assert (await desk.world.by_certificate(await desk.world.issue(identity))).device_id == device.device_id
    await desk.world.devices.remove(desk.alice, device.device_id, client_address=CLIENT)
    for each in (await desk.world.by_certificate(issued), await desk.world.by_ssh_certificate(issued)):
        assert (each.device_id, may(each).allowed) == ("", False)
        refused = may(each, "ubuntu")
        assert (refused.allowed, "trusted device" in refused.reason) == (False, True)
    # What runs is asked about again (E14).
    (now,) = await desk.world.database.read(refresh, identities=[identity], now=desk.world.clock.now)
    assert (now.device_id, may(now).allowed) == ("", False)
    told = [each["event_type"] for each in await desk.world.events() if each["resource_type"] == "device"]
    assert told == ["device.enrolled", "device.approved", "device.removed"]


async def test_what_runs_goes_on_at_a_trusted_device(desk):
    _, identity = await desk.at(await desk.trusted())
    (now,) = await desk.world.database.read(refresh, identities=[identity], now=desk.world.clock.now)
    assert may(now).allowed


async def test_a_session_is_no_device(desk):
    """Nor is a certificate without a proof: the same user elsewhere (E8)."""
    await desk.trusted()
    assert not may(desk.alice).allowed
    elsewhere = await desk.world.by_certificate(await desk.world.issue(desk.alice))
    assert not may(elsewhere).allowed
    assert await desk.world.devices.prove(desk.alice, None, KEYS, client_address=CLIENT) is desk.alice


async def refusals(desk, proof, who=None):
    with pytest.raises(AccessDeniedError, match="did not prove its key"):
        await desk.world.devices.prove(who or desk.alice, proof, KEYS, client_address=CLIENT)


async def test_wrong_proofs(desk):
    device = await desk.trusted()
    wanted = {"device_id": device.device_id}
    for proof in (
        await desk.proof(DevicePurpose.ENROLL, KEYS, **wanted),
        await desk.proof(DevicePurpose.LOGIN, "other keys", **wanted),
        await desk.proof(DevicePurpose.LOGIN, KEYS, cluster="other", **wanted),
        await desk.proof(DevicePurpose.LOGIN, KEYS, user="root", **wanted),
        # Of another session, and of another user.
        await desk.proof(DevicePurpose.LOGIN, KEYS, who=await desk.world.session("alice"), **wanted),
        await desk.proof(DevicePurpose.LOGIN, KEYS, who=desk.root, **wanted),
    ):
        await refusals(desk, proof)
    good = await desk.proof(DevicePurpose.LOGIN, KEYS, **wanted)
    for signature in ("", "no base64", "AAAA", "A" * 2048):
        await refusals(desk, attrs.evolve(good, signature=signature))
    await refusals(desk, attrs.evolve(good, challenge=good.challenge[:-1]))
    desk.key = generate_ed25519()
    await refusals(desk, await desk.proof(DevicePurpose.LOGIN, KEYS, **wanted))
    # What was forged, used or another's is on record (issue 4: refused and audited).
    told = [event for event in await desk.world.events("authz.denied") if event["resource_type"] == "device"]
    assert len(told) == 12
    assert {(event["user_name"], event["resource_name"]) for event in told} == {("alice", device.device_id)}
    # What was wrong has not used up what is good.
    assert (
        await desk.world.devices.prove(desk.alice, good, KEYS, client_address=CLIENT)
    ).device_id == device.device_id


async def test_a_proof_is_good_once_and_for_minutes(desk):
    """Threat E10."""
    device = await desk.trusted()
    proof = await desk.proof(DevicePurpose.LOGIN, KEYS, device_id=device.device_id)
    await desk.world.devices.prove(desk.alice, proof, KEYS, client_address=CLIENT)
    await refusals(desk, proof)
    late = await desk.proof(DevicePurpose.LOGIN, KEYS, device_id=device.device_id)
    desk.world.clock.now += CHALLENGE_MS
    await refusals(desk, late)


async def test_another_users_device(desk):
    device = await desk.trusted()
    proof = await desk.proof(
        DevicePurpose.LOGIN, KEYS, device_id=device.device_id, who=desk.root, user="root"
    )
    assert (await desk.world.devices.prove(desk.root, proof, KEYS, client_address=CLIENT)).device_id == ""
    for who in (desk.root, desk.alice):
        assert [each.device_id for each in await desk.world.devices.list_devices(who)] == [device.device_id]
    eve = await desk.world.user("eve", ("access",))
    assert await desk.world.devices.list_devices(eve) == []
    for identifier in (device.device_id, "nowhere"):
        with pytest.raises(NotFoundError):
            await desk.world.devices.remove(eve, identifier, client_address=CLIENT)
    with pytest.raises(NotFoundError, match="waits for approval"):
        await desk.world.devices.approve(desk.root, device.device_id, client_address=CLIENT)
    await desk.world.devices.remove(desk.root, device.device_id, client_address=CLIENT)


async def test_identities_are_made_of_what_is_proven(desk):
    """Threat A2."""
    device = await desk.enroll()
    for row in (device, attrs.evolve(device, user_name="root", approved_at=1)):
        with pytest.raises(ValueError, match="no trusted device of the user"):
            with_device(desk.alice, row)


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb"])
async def test_names(desk, name):
    with pytest.raises(InvalidRequestError, match="at most 64 printable"):
        await desk.enroll(name)


async def test_what_cannot_be_enrolled(desk):
    proof = await desk.proof(DevicePurpose.ENROLL, "laptop")
    enroll = desk.world.devices.enroll
    with pytest.raises(InvalidRequestError):
        await enroll(desk.alice, "laptop", "ssh-ed25519 AAAA", proof, client_address=CLIENT)
    other = authorized_key_line(public_key_blob(generate_ed25519().public_key()))
    with pytest.raises(AccessDeniedError, match="did not prove"):
        await enroll(desk.alice, "laptop", other, proof, client_address=CLIENT)
    await desk.enroll()
    with pytest.raises(ConflictError, match="a device already"):
        await desk.enroll()
    for _ in range(MAX_DEVICES - 1):
        desk.key = generate_ed25519()
        await desk.enroll()
    desk.key = generate_ed25519()
    with pytest.raises(TooManyRequestsError, match="remove one"):
        await desk.enroll()
