# SPDX-License-Identifier: Apache-2.0
"""Talking to identity providers: what they publish, kept for a while, and who a code is for.

A browser brings a code; everything that counts comes from the provider itself, over a connection of ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs
import trio

from mezite.core.oidc.answers import ProviderError, parse_object
from mezite.core.oidc.authorization import (
    RoundTripSecrets,
    TokenAnswer,
    checked_code,
    parse_token_answer,
    token_request,
)
from mezite.core.oidc.claim_mapping import merged_claims
from mezite.core.oidc.connector import Connector, GithubSpec
from mezite.core.oidc.discovery import ProviderMetadata, discovery_url, parse_metadata
from mezite.core.oidc.github import PAGE_SIZE, github_claims, next_page, parse_list
from mezite.core.oidc.id_token import ExpectedToken, verify_id_token
from mezite.core.oidc.key_set import KeySet, UnknownKeyError, parse_key_set
from mezite.core.oidc.provider_url import InvalidUrlError, parse_provider_url
from mezite.core.secret import Secret
from mezite.net.guarded_client import FetchError, GuardedClient
from mezite.net.http1_client import Response
from mezite.services.sso.connectors import KnownConnector

__all__ = ["IdentityProviders", "Proven"]

KEPT_SECONDS = 3600.0
"""Discovery document and keys are fetched anew after an hour; new keys are noticed at once by their unknown name."""

REFRESH_SECONDS = 30.0
"""Between two fetches of the keys for tokens with unknown keys: whoever sends made-up tokens causes two a minute."""

MAX_PAGES = 10
"""Of a user's teams or organisations at GitHub: a thousand of each."""

MAX_KEPT = 128
"""Providers that are remembered, old versions of connectors included."""


@attrs.frozen(kw_only=True)
class Proven:
    """Who somebody is, by the word of the provider."""

    issuer: str
    subject: str
    claims: Mapping[str, Any]


@attrs.define(eq=False)
class _Kept:
    """What is known of one provider."""

    metadata: ProviderMetadata | None = None
    metadata_at: float = -math.inf
    keys: KeySet = attrs.field(factory=KeySet)
    keys_at: float = -math.inf
    keys_asked_at: float = -math.inf
    fetching: trio.Lock = attrs.field(factory=trio.Lock)


@attrs.define(eq=False, kw_only=True)
class IdentityProviders:
    """All providers of one hub. Every method raises ProviderError for what a provider does, and no other exception."""

    now: Callable[[], int]
    """Wall clock, milliseconds."""
    clock: Callable[[], float] = trio.current_time
    client: GuardedClient = attrs.field(factory=GuardedClient)
    """With the limits that hold for all providers; what a connector allows is added for each."""
    _kept: dict[tuple[str, int], _Kept] = attrs.field(factory=dict, init=False)

    async def authorization_endpoint(self, known: KnownConnector) -> str:
        """Where browsers are sent to."""
        provider = known.connector.provider
        if isinstance(provider, GithubSpec):
            return f"{provider.url}/login/oauth/authorize"
        return (await self.metadata(known)).authorization_endpoint

    async def metadata(self, known: KnownConnector) -> ProviderMetadata:
        """The discovery document of an OpenID provider, at most an hour old."""
        kept = self._remembered(known)
        async with kept.fetching:
            if kept.metadata is None or self.clock() - kept.metadata_at > KEPT_SECONDS:
                connector = known.connector
                url = discovery_url(connector.issuer)
                body = _good(await self._calls(connector).fetch(url), "the discovery document")
                kept.metadata = parse_metadata(
                    body, connector.issuer, plain_on_loopback=connector.allow_private_network
                )
                kept.metadata_at = self.clock()
            return kept.metadata

    async def keys(self, known: KnownConnector, *, at_most_old: float = KEPT_SECONDS) -> KeySet:
        """The provider's keys, at most so many seconds old."""
        metadata = await self.metadata(known)
        kept = self._remembered(known)
        async with kept.fetching:
            now = self.clock()
            if now - kept.keys_at > at_most_old and now - kept.keys_asked_at >= REFRESH_SECONDS:
                kept.keys_asked_at = now
                body = _good(await self._calls(known.connector).fetch(metadata.jwks_uri), "the key set")
                # What was there stays when this fails.
                kept.keys, kept.keys_at = parse_key_set(body), now
            elif now - kept.keys_at > KEPT_SECONDS:
                raise ProviderError("the key set could not be had a moment ago: try again in half a minute")
            return kept.keys

    async def redeem(
        self,
        known: KnownConnector,
        parameters: Iterable[tuple[str, str]],
        secrets: RoundTripSecrets,
        *,
        redirect_url: str,
    ) -> Proven:
        """Who has signed in, by the parameters of a callback whose state is good."""
        if isinstance(known.connector.provider, GithubSpec):
            return await self._redeem_github(known.connector, list(parameters), secrets, redirect_url)
        metadata = await self.metadata(known)
        code = checked_code(parameters, issuer=metadata.issuer, iss_required=metadata.iss_in_callback)
        calls = self._calls(known.connector)
        headers, body = token_request(
            known.connector,
            code=code,
            redirect_url=redirect_url,
            verifier=secrets.verifier,
            secret_in_body=metadata.secret_in_body,
        )
        answer = await calls.redeem(metadata.token_endpoint, headers, body)
        expected = ExpectedToken(
            issuer=metadata.issuer,
            client_id=known.connector.client_id,
            nonce=secrets.nonce,
            access_token=answer.access_token.reveal(),
        )
        claims = await self._verified(known, answer.id_token, expected)
        if metadata.userinfo_endpoint is not None:
            more = await calls.userinfo(metadata.userinfo_endpoint, answer.access_token)
            if more.get("sub") != claims["sub"]:
                raise ProviderError("the userinfo endpoint speaks of somebody else than the ID token")
            return Proven(
                issuer=metadata.issuer,
                subject=claims["sub"],
                claims=merged_claims(signed=claims, told=more),
            )
        return Proven(issuer=metadata.issuer, subject=claims["sub"], claims=claims)

    async def _verified(self, known: KnownConnector, token: str, expected: ExpectedToken) -> dict[str, Any]:
        keys = await self.keys(known)
        try:
            return verify_id_token(token, keys, expected, now=self.now() // 1000)
        except UnknownKeyError:
            keys = await self.keys(known, at_most_old=REFRESH_SECONDS)
            return verify_id_token(token, keys, expected, now=self.now() // 1000)

    async def _redeem_github(
        self,
        connector: Connector,
        parameters: list[tuple[str, str]],
        secrets: RoundTripSecrets,
        redirect_url: str,
    ) -> Proven:
        assert isinstance(connector.provider, GithubSpec), "the caller has looked"
        url, api = connector.provider.url, connector.provider.api_url
        code = checked_code(parameters)
        calls = self._calls(connector)
        headers, body = token_request(
            connector, code=code, redirect_url=redirect_url, verifier=secrets.verifier, secret_in_body=True
        )
        token = (await calls.redeem(f"{url}/login/oauth/access_token", headers, body)).access_token
        user = _good(await calls.fetch(f"{api}/user", _github_fields(token)), "GitHub's answer")
        claims = github_claims(
            user,
            await calls.github_pages(f"{api}/user/teams", token),
            await calls.github_pages(f"{api}/user/orgs", token),
        )
        return Proven(issuer=connector.issuer, subject=claims["sub"], claims=claims)

    def _calls(self, connector: Connector) -> _Calls:
        roots = (connector.ca_pem,) if connector.ca_pem else ()
        return _Calls(
            attrs.evolve(self.client, allow_private=connector.allow_private_network, extra_roots=roots)
        )

    def _remembered(self, known: KnownConnector) -> _Kept:
        version = (known.connector.name, known.updated_at)
        kept = self._kept.pop(version, None) or _Kept()
        self._kept[version] = kept
        if len(self._kept) > MAX_KEPT:
            del self._kept[next(iter(self._kept))]
        return kept


@attrs.frozen
class _Calls:
    """Requests to the provider of one connector."""

    client: GuardedClient

    async def fetch(
        self, url: str, headers: Iterable[tuple[str, str]] = (), body: bytes | None = None
    ) -> Response:
        method = "GET" if body is None else "POST"
        try:
            parsed = parse_provider_url(url, plain_on_loopback=self.client.allow_private)
            return await self.client.fetch(parsed, method, list(headers), body or b"")
        except (FetchError, InvalidUrlError) as error:
            raise ProviderError(str(error)) from None

    async def redeem(self, endpoint: str, headers: list[tuple[str, str]], body: bytes) -> TokenAnswer:
        response = await self.fetch(endpoint, headers, body)
        return parse_token_answer(response.status, response.body)

    async def userinfo(self, endpoint: str, token: Secret) -> dict[str, Any]:
        fields = [("authorization", f"Bearer {token.reveal()}"), ("accept", "application/json")]
        return parse_object(_good(await self.fetch(endpoint, fields), "userinfo"), "userinfo")

    async def github_pages(self, url: str, token: Secret) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        page: int | None = 1
        while page is not None and page <= MAX_PAGES:
            asked = f"{url}?per_page={PAGE_SIZE}&page={page}"
            response = await self.fetch(asked, _github_fields(token))
            listed = parse_list(_good(response, "GitHub's answer"), "GitHub's answer")
            found += listed
            link = (response.header(b"link") or b"").decode("latin-1")
            page = next_page(link, page, len(listed))
        return found


def _github_fields(token: Secret) -> list[tuple[str, str]]:
    return [
        ("authorization", f"Bearer {token.reveal()}"),
        ("accept", "application/vnd.github+json"),
        ("x-github-api-version", "2022-11-28"),
    ]


def _good(response: Response, what: str) -> bytes:
    if response.status != 200:
        raise ProviderError(f"{what} cannot be had: the provider answers with status {response.status}")
    return response.body
