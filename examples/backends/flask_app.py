# SPDX-License-Identifier: Apache-2.0
"""A Flask application behind mezite that believes nobody but the hub.

    pip install mezite flask
    export MEZITE_APP_URI=http://127.0.0.1:5000      # as in `mezctl apps register --uri=…`, to the letter
    export MEZITE_APP_NAME=wiki                      # its name; needed where other machines have the same URI
    export MEZITE_JWKS_URL=https://mezite.example.com/workload-identity/app-jwt-jwks.json
    flask --app examples/backends/flask_app run

The header X-Mezite-User says the same as the assertion, and anybody who reaches this port can write it.
"""

import os
import threading
import time
import urllib.request

from flask import Flask, Response, abort, g, jsonify, request

from mezite import AssertionKeyCache, AssertionRefused, InvalidKeySetError, verify_assertion


def create_app() -> Flask:
    app = Flask(__name__)
    audience, name = os.environ["MEZITE_APP_URI"], os.environ.get("MEZITE_APP_NAME")
    jwks_url = os.environ["MEZITE_JWKS_URL"]
    keys, fetching = AssertionKeyCache(), threading.Lock()

    def refresh_keys(token: str | None) -> None:
        """Fetch the key set when there is a reason: none yet, an hour old, or a key that is not in it."""
        with fetching:
            if not keys.claim_fetch(token, time.monotonic()):
                return
            try:
                with urllib.request.urlopen(jwks_url, timeout=5) as answer:
                    keys.store(answer.read(65_536), time.monotonic())
            except (OSError, InvalidKeySetError) as error:
                app.logger.warning("the key set cannot be fetched, the keys known so far stay: %s", error)

    @app.before_request
    def identify() -> None:
        token = request.headers.get("Mezite-Jwt-Assertion")
        refresh_keys(token)
        try:
            g.caller = verify_assertion(token, keys.keys, audience=audience, app=name, now=time.time())
        except AssertionRefused as refused:
            abort(401, description=refused.message)

    @app.get("/")
    def who_am_i() -> Response:
        return jsonify(user=g.caller.user, roles=g.caller.roles)

    @app.get("/admin")
    def for_administrators() -> Response:
        if "admin" not in g.caller.roles:
            abort(403, description="this is for the role admin")
        return jsonify(answer="42")

    return app
