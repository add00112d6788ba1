# SPDX-License-Identifier: Apache-2.0
"""Connectors as values: how users of an identity provider sign in here, and what they get."""

import enum

import attrs

from mezite.core.rbac.label_matcher import ValueCondition
from mezite.core.secret import Secret

__all__ = [
    "CALLBACK_PATHS",
    "DEFAULT_SCOPES",
    "Connector",
    "ConnectorKind",
    "GithubSpec",
    "OidcSpec",
    "RoleRule",
    "TraitRule",
]

DEFAULT_SCOPES = ("openid", "email", "profile")


class ConnectorKind(enum.Enum):
    """What the provider speaks; the value is the ``kind`` of the document."""

    OIDC = "oidc"
    GITHUB = "github"


CALLBACK_PATHS = {
    ConnectorKind.OIDC: "/v1/webapi/oidc/callback",
    ConnectorKind.GITHUB: "/v1/webapi/github/callback",
}
"""Where a provider sends the browser back to, on the hub's public address."""


@attrs.frozen(kw_only=True)
class RoleRule:
    """Who has ``value`` among the values of ``claim`` gets ``roles``."""

    claim: str
    value: str
    """As written: a value, ``*`` for any, or ``^…$``."""
    condition: ValueCondition = attrs.field(eq=False, repr=False)
    roles: tuple[str, ...]


@attrs.frozen(kw_only=True)
class TraitRule:
    """The values of ``claim`` become the trait ``trait``."""

    claim: str
    trait: str


@attrs.frozen(kw_only=True)
class OidcSpec:
    """An OpenID provider."""

    issuer: str
    """Exactly as the provider writes it, in its discovery document and in its tokens."""
    scopes: tuple[str, ...] = DEFAULT_SCOPES
    username_claim: str = "email"


@attrs.frozen(kw_only=True)
class GithubSpec:
    """GitHub, or a GitHub Enterprise server."""

    url: str = "https://github.com"
    api_url: str = "https://api.github.com"


@attrs.frozen(kw_only=True)
class Connector:
    """One connector."""

    name: str
    description: str = ""
    display_name: str = ""
    client_id: str
    client_secret: Secret = attrs.field(factory=lambda: Secret(""))
    """Empty: a public client, or one whose secret is kept elsewhere."""
    provider: OidcSpec | GithubSpec
    role_rules: tuple[RoleRule, ...] = ()
    trait_rules: tuple[TraitRule, ...] = ()
    redirect_urls: tuple[str, ...] = ()
    """Where the provider may send browsers back to; empty: to the hub's public address only."""
    allow_private_network: bool = False
    """Whether the hub may talk to a provider at a private or loopback address."""
    ca_pem: str = ""
    """Roots that vouch for the provider besides the system's."""

    @property
    def kind(self) -> ConnectorKind:
        """What the provider speaks."""
        return ConnectorKind.OIDC if isinstance(self.provider, OidcSpec) else ConnectorKind.GITHUB

    @property
    def issuer(self) -> str:
        """What makes a subject unique: users are keyed by issuer and subject (threat E5)."""
        return self.provider.issuer if isinstance(self.provider, OidcSpec) else self.provider.url

    @property
    def provider_key(self) -> tuple[str, ...]:
        """Where the client secret goes to: another value means another recipient."""
        provider = self.provider
        return (provider.issuer,) if isinstance(provider, OidcSpec) else (provider.url, provider.api_url)

    @property
    def title(self) -> str:
        """What a sign-in button says."""
        return self.display_name or self.name

    def redirect_url(self, web_url: str) -> str:
        """Where the provider shall send the browser back to, when the hub itself is at ``web_url``."""
        own = web_url + CALLBACK_PATHS[self.kind]
        return own if own in self.redirect_urls or not self.redirect_urls else self.redirect_urls[0]
