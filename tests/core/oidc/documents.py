# SPDX-License-Identifier: Apache-2.0
"""Connectors to test with."""

from mezite.core.oidc.connector_document import parse_connector

ISSUER = "https://login.example.com/realms/main"
OIDC = {
    "kind": "oidc",
    "version": "v1",
    "metadata": {"name": "keycloak", "description": "Everybody"},
    "spec": {
        "display_name": "Company login",
        "issuer": ISSUER,
        "scopes": ["openid", "email", "groups"],
        "username_claim": "preferred_username",
        "client_id": "mezite",
        "client_secret": "s3cret",
        "claims_to_roles": [
            {"claim": "groups", "value": "platform", "roles": ["access", "auditor"]},
            {"claim": "groups", "value": "^eng-.*$", "roles": ["access"]},
            {"claim": "realm_access.roles", "value": "root", "roles": ["admin"]},
        ],
        "claims_to_traits": [
            {"claim": "preferred_username", "trait": "logins"},
            {"claim": "groups", "trait": "groups"},
        ],
        "redirect_urls": ["https://hub.example.com/v1/webapi/oidc/callback"],
        "allow_private_network": False,
        "ca_pem": "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n",
    },
}
GITHUB = {
    "kind": "github",
    "version": "v1",
    "metadata": {"name": "github", "description": ""},
    "spec": {
        "display_name": "",
        "url": "https://github.com",
        "api_url": "https://api.github.com",
        "client_id": "Iv1.abc",
        "client_secret": "s3cret",
        "teams_to_roles": [
            {"org": "acme", "team": "platform", "roles": ["access"]},
            {"org": "acme", "roles": ["auditor"]},
        ],
        "claims_to_traits": [{"claim": "login", "trait": "logins"}],
        "redirect_urls": [],
        "allow_private_network": False,
        "ca_pem": "",
    },
}


def oidc(**spec):
    """A document with changes below `spec`; None takes a key away."""
    merged = {**OIDC["spec"], **spec}
    return {**OIDC, "spec": {key: value for key, value in merged.items() if value is not None}}


def github(**spec):
    merged = {**GITHUB["spec"], **spec}
    return {**GITHUB, "spec": {key: value for key, value in merged.items() if value is not None}}


def connector(**spec):
    return parse_connector(oidc(**spec))
