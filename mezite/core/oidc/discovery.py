# SPDX-License-Identifier: Apache-2.0
"""The discovery document of an OpenID provider (OpenID Connect Discovery 1.0, RFC 8414)."""

from typing import Any

import attrs

from mezite.core.oidc.answers import ProviderError, parse_object, shown, text_in
from mezite.core.oidc.key_set import ALGORITHMS
from mezite.core.oidc.provider_url import InvalidUrlError, parse_provider_url

__all__ = ["ProviderMetadata", "discovery_url", "parse_metadata"]

WHAT = "the discovery document"


@attrs.frozen(kw_only=True)
class ProviderMetadata:
    """What a login needs to know of a provider."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str | None
    iss_in_callback: bool
    """The provider says who it is when it sends a browser back (RFC 9207), so an answer without that is refused."""
    secret_in_body: bool
    """The client secret goes into the form rather than into the Authorization field."""


def discovery_url(issuer: str) -> str:
    """Where the provider's document is."""
    return issuer.rstrip("/") + "/.well-known/openid-configuration"


def parse_metadata(body: bytes, issuer: str, *, plain_on_loopback: bool = False) -> ProviderMetadata:
    """The document at ``discovery_url(issuer)``.

    Raises ProviderError: it is of another issuer (threat E4), lacks an endpoint, names one that is no https URL, or
    the provider cannot do what a login here needs.
    """
    values = parse_object(body, WHAT)
    named = text_in(values, "issuer", WHAT)
    if named != issuer:
        raise ProviderError(
            f"{WHAT} is of the issuer {shown(named)}, not of {shown(issuer)}: they must be equal to the last character"
        )

    def endpoint(name: str) -> str:
        return checked_url(text_in(values, name, WHAT), name, plain_on_loopback=plain_on_loopback)

    check_listed(values, "response_types_supported", {"code"})
    check_listed(values, "code_challenge_methods_supported", {"S256"})
    check_listed(values, "id_token_signing_alg_values_supported", set(ALGORITHMS))
    return ProviderMetadata(
        issuer=issuer,
        authorization_endpoint=endpoint("authorization_endpoint"),
        token_endpoint=endpoint("token_endpoint"),
        jwks_uri=endpoint("jwks_uri"),
        userinfo_endpoint=endpoint("userinfo_endpoint") if "userinfo_endpoint" in values else None,
        iss_in_callback=values.get("authorization_response_iss_parameter_supported") is True,
        secret_in_body=wants_secret_in_body(values),
    )


def checked_url(url: str, name: str, *, plain_on_loopback: bool) -> str:
    try:
        return parse_provider_url(url, plain_on_loopback=plain_on_loopback).text
    except InvalidUrlError as error:
        raise ProviderError(f"{WHAT} has a {name} that cannot be used, {shown(url)}: {error}") from None


def check_listed(values: dict[str, Any], name: str, wanted: set[str]) -> None:
    """Who lists what they can do must list one of ``wanted``; not to list anything is allowed."""
    listed = values.get(name)
    if isinstance(listed, list) and not any(isinstance(each, str) and each in wanted for each in listed):
        raise ProviderError(f"{WHAT} has none of {', '.join(sorted(wanted))} in {name}")


def wants_secret_in_body(values: dict[str, Any]) -> bool:
    """Basic authentication is the default (RFC 8414 section 2)."""
    methods = values.get("token_endpoint_auth_methods_supported")
    if not isinstance(methods, list):
        return False
    return "client_secret_basic" not in methods and "client_secret_post" in methods
