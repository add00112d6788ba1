# SPDX-License-Identifier: Apache-2.0
"""Trying a connector without a person: everything of a login up to the point where somebody would be asked."""

from __future__ import annotations

from collections.abc import AsyncIterator

import attrs

from mezite.core.oidc.answers import ProviderError, parse_object
from mezite.core.oidc.authorization import RoundTripSecrets, authorization_url
from mezite.core.oidc.claim_mapping import ClaimsRefusedError, MappedUser, map_claims
from mezite.core.oidc.connector import ConnectorKind
from mezite.services.errors import InvalidRequestError, UnavailableError
from mezite.services.public_addresses import PublicAddresses
from mezite.services.sources import Sources
from mezite.services.sso.connectors import ConnectorCatalog, KnownConnector
from mezite.services.sso.identity_providers import IdentityProviders

__all__ = ["ConnectorTrial", "TrialOutcome", "TrialStep"]

MAX_CLAIMS = 64 * 1024
"""Characters; a token has a quarter of that."""


@attrs.frozen(kw_only=True)
class TrialStep:
    """One step."""

    name: str
    passed: bool
    detail: str


@attrs.define(kw_only=True)
class TrialOutcome:
    """How far it went."""

    steps: list[TrialStep] = attrs.field(factory=list)
    authorization_url: str = ""
    mapped: MappedUser | None = None


@attrs.frozen(kw_only=True)
class ConnectorTrial:
    """Tries connectors; changes nothing and remembers nothing."""

    catalog: ConnectorCatalog
    sources: Sources
    addresses: PublicAddresses

    async def try_out(self, name: str, claims: str = "") -> TrialOutcome:
        """Walk discovery, keys, the way to the provider and, with `claims` (a JSON object), what they map to.

        It ends with the first step that fails.

        :raises NotFoundError: there is no such connector. :raises InvalidRequestError: `claims` is no JSON object.
        """
        parsed = _claims(claims)
        await self.catalog.get(name)
        outcome = TrialOutcome()
        step = ""
        try:
            async for step, detail in self._walk(name, parsed, outcome):
                if detail:
                    outcome.steps.append(TrialStep(name=step, passed=True, detail=detail))
        except (ProviderError, ClaimsRefusedError, UnavailableError) as error:
            outcome.steps.append(TrialStep(name=step, passed=False, detail=str(error)))
        return outcome

    async def _walk(
        self, name: str, claims: dict[str, object] | None, outcome: TrialOutcome
    ) -> AsyncIterator[tuple[str, str]]:
        """Each step is named twice: before it with nothing to say, and behind it with what was found."""
        # Asked anew: what is kept for logins may be an hour old.
        providers = IdentityProviders(now=self.sources.now)
        yield "client secret", ""
        known = await self.catalog.open(name)
        yield "client secret", "is there" if known.has_secret else "none: a public client"
        if known.connector.kind is ConnectorKind.OIDC:
            yield "discovery", ""
            metadata = await providers.metadata(known)
            yield "discovery", f"issuer {metadata.issuer}, token endpoint {metadata.token_endpoint}"
            yield "keys", ""
            keys = (await providers.keys(known)).keys
            names = sorted({algorithm for key in keys for algorithm in key.algorithms})
            yield "keys", f"{len(keys)} usable, for {', '.join(names)}"
        yield "way to the provider", ""
        outcome.authorization_url = await self._way(providers, known)
        yield "way to the provider", f"back to {known.connector.redirect_url(self.addresses.web_url())}"
        if claims is not None:
            yield "claims", ""
            outcome.mapped = map_claims(known.connector, claims)
            yield "claims", f"user {outcome.mapped.name}, roles {', '.join(outcome.mapped.roles)}"

    async def _way(self, providers: IdentityProviders, known: KnownConnector) -> str:
        state = self.sources.new_secret()
        return authorization_url(
            await providers.authorization_endpoint(known),
            known.connector,
            redirect_url=known.connector.redirect_url(self.addresses.web_url()),
            state=state,
            secrets=RoundTripSecrets.derive(self.sources.new_secret(), state),
        )


def _claims(text: str) -> dict[str, object] | None:
    if not text:
        return None
    try:
        return parse_object(text[: MAX_CLAIMS + 1], "the claims")
    except ProviderError as error:
        raise InvalidRequestError(str(error)) from None
