# SPDX-License-Identifier: Apache-2.0
"""Somebody with a security key and a logged-in browser, without the browser."""

from __future__ import annotations

import base64
import json
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import attrs

from mezite.core.totp import STEP_SECONDS, totp_code
from mezite.testing.software_key import SoftwareKey
from tests.e2e.harness import PASSWORD, Cluster


@attrs.define
class Approver:
    """One user's session at the web API, and their key."""

    cluster: Cluster
    name: str
    token: str = ""
    recovery_codes: list[str] = attrs.field(factory=list)
    key: SoftwareKey = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        port = self.cluster.addresses["web"].rpartition(":")[2]
        self.key = SoftwareKey(origin=f"https://localhost:{port}")
        self.token = self.call("login", {"username": self.name, "password": PASSWORD})["session"]

    def enrol(self) -> None:
        asked = self.call("mfa/webauthn/register/begin", {"proof": {"password": PASSWORD}})
        answer = self.key.create(asked["options"])
        enrolled = self.call(
            "mfa/webauthn/register/finish", {"challenge_id": asked["challenge_id"], "credential": answer}
        )
        self.recovery_codes = enrolled["recovery_codes"]

    def enrol_app(self) -> Callable[[], str]:
        """An authenticator app; returns what gives its next code, which is good two times within a minute."""
        touch = self.call("mfa/webauthn/proof/begin", {})
        answer = {"challenge_id": touch["challenge_id"], "credential": self.key.get(touch["options"])}
        begun = self.call("mfa/totp/begin", {"proof": {"webauthn": answer}})
        secret = base64.b32decode(begun["secret"])
        steps = [now() - 1]  # one step behind is good as well, and so is one ahead
        code = totp_code(secret, steps[0])
        self.call("mfa/totp/finish", {"challenge_id": begun["challenge_id"], "code": code})

        def next_code() -> str:
            steps.append(max(now(), steps[-1] + 1))
            return totp_code(secret, steps[-1])

        return next_code

    def view(self, url: str) -> dict[str, Any]:
        return self.call(f"proofs/{id_of(url)}")

    def approve(self, url: str) -> None:
        base = f"proofs/{id_of(url)}/webauthn"
        asked = self.call(f"{base}/begin", {})
        answer = self.key.get(asked["options"])
        self.call(f"{base}/finish", {"challenge_id": asked["challenge_id"], "credential": answer})

    def refuse(self, url: str) -> None:
        self.call(f"proofs/{id_of(url)}/refuse", {})

    def call(self, path: str, fields: dict[str, Any] | None = None) -> Any:
        """:raises urllib.error.HTTPError: refused."""
        request = urllib.request.Request(
            f"https://{self.cluster.addresses['web']}/v1/webapi/{path}",
            data=None if fields is None else json.dumps(fields).encode(),
            headers={"content-type": "application/json"},
        )
        if self.token:
            request.add_header("authorization", f"Bearer {self.token}")
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        with urllib.request.urlopen(request, context=context, timeout=20) as response:
            return json.load(response)


def now() -> int:
    return time.time_ns() // 1_000_000_000 // STEP_SECONDS


def id_of(url: str) -> str:
    return url.rpartition("#")[2]
