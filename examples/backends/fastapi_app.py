# SPDX-License-Identifier: Apache-2.0
"""A FastAPI application behind mezite that believes nobody but the hub.

    pip install mezite fastapi uvicorn
    export MEZITE_APP_URI=http://127.0.0.1:8000      # as in `mezctl apps register --uri=…`, to the letter
    export MEZITE_APP_NAME=wiki                      # its name; needed where other machines have the same URI
    export MEZITE_JWKS_URL=https://mezite.example.com/workload-identity/app-jwt-jwks.json
    uvicorn --factory --app-dir examples/backends fastapi_app:create_app

The header X-Mezite-User says the same as the assertion, and anybody who reaches this port can write it.
"""

import asyncio
import logging
import os
import time
from typing import Annotated

import httpx
from fastapi import Depends, FastAPI, Header, HTTPException

from mezite import AssertionKeyCache, AssertionRefused, Caller, InvalidKeySetError, verify_assertion

log = logging.getLogger(__name__)


class Gate:
    """Who asks, by the assertion; the key set is fetched when there is a reason to."""

    def __init__(self, audience: str, name: str | None, jwks_url: str) -> None:
        self.audience = audience
        self.name = name
        self.jwks_url = jwks_url
        self.keys = AssertionKeyCache()
        self.fetching = asyncio.Lock()

    async def __call__(self, mezite_jwt_assertion: Annotated[str | None, Header()] = None) -> Caller:
        await self.refresh_keys(mezite_jwt_assertion)
        try:
            return verify_assertion(
                mezite_jwt_assertion, self.keys.keys, audience=self.audience, app=self.name, now=time.time()
            )
        except AssertionRefused as refused:
            raise HTTPException(401, refused.message) from None

    async def refresh_keys(self, token: str | None) -> None:
        async with self.fetching:
            if not self.keys.claim_fetch(token, time.monotonic()):
                return
            try:
                async with httpx.AsyncClient(timeout=5) as client:
                    answer = await client.get(self.jwks_url)
                self.keys.store(answer.raise_for_status().content, time.monotonic())
            except (httpx.HTTPError, InvalidKeySetError) as error:
                log.warning("the key set cannot be fetched, the keys known so far stay: %s", error)


def create_app() -> FastAPI:
    environ = os.environ
    gate = Gate(environ["MEZITE_APP_URI"], environ.get("MEZITE_APP_NAME"), environ["MEZITE_JWKS_URL"])
    app = FastAPI(dependencies=[Depends(gate)])

    @app.get("/")
    async def who_am_i(caller: Annotated[Caller, Depends(gate)]) -> dict[str, object]:
        return {"user": caller.user, "roles": caller.roles}

    @app.get("/admin")
    async def for_administrators(caller: Annotated[Caller, Depends(gate)]) -> dict[str, str]:
        if "admin" not in caller.roles:
            raise HTTPException(403, "this is for the role admin")
        return {"answer": "42"}

    return app
