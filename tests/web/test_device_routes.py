# SPDX-License-Identifier: Apache-2.0
"""What a device shows to get certificates that name it."""

import base64

from mezite.core.certificates.keys import generate_ed25519
from mezite.core.certificates.ssh_public_key import authorized_key_line, public_key_blob
from mezite.core.device_proof import DevicePurpose, certified_keys, sign_proof
from mezite.services.users.devices import DeviceProof
from tests.services.world import CLIENT, CLUSTER, SSH_PUBLIC_LINE, TLS_PUBLIC_PEM
from tests.web.browser import browsing, document, failure, make_app

KEYS = {"ssh_public_key": SSH_PUBLIC_LINE, "tls_public_key_pem": TLS_PUBLIC_PEM.decode()}


def base64_of(data):
    return base64.b64encode(data).decode()


async def test_certificates_for_a_device(world):
    alice, root = await world.user("alice"), await world.user("root", ("admin",))
    key = generate_ed25519()
    challenge = await world.devices.begin(alice)
    proof = sign_proof(key, DevicePurpose.ENROLL, CLUSTER, "alice", challenge, "laptop")
    device = await world.devices.enroll(
        alice,
        "laptop",
        authorized_key_line(public_key_blob(key.public_key())),
        DeviceProof(device_id="", challenge=challenge, signature=base64_of(proof)),
        client_address=CLIENT,
    )
    await world.devices.approve(root, device.device_id, client_address=CLIENT)
    async with browsing(make_app(world)[0]) as browser:
        browser.token = await world.token("alice")
        plain = document(await browser.post("certificates", KEYS))
        assert plain["device_id"] == ""
        begun = document(await browser.post("devices/challenge", {}))["challenge"]
        proof = sign_proof(key, DevicePurpose.LOGIN, CLUSTER, "alice", begun, certified_keys(*KEYS.values()))
        shown = {
            "device_id": device.device_id,
            "device_challenge": begun,
            "device_signature": base64_of(proof),
        }
        named = document(await browser.post("certificates", {**KEYS, **shown}))
        assert named["device_id"] == device.device_id
        status, message = failure(await browser.post("certificates", {**KEYS, **shown}))
        assert (status, "did not prove its key" in message) == (403, True)
        del shown["device_signature"]
        status, message = failure(await browser.post("certificates", {**KEYS, **shown}))
        assert (status, "all of them" in message) == (400, True)
