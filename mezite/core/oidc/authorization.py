# SPDX-License-Identifier: Apache-2.0
"""The way of a browser to the provider and back (RFC 6749, RFC 7636, RFC 9207): what goes out, what may come back."""

import base64
import hashlib
import hmac
from collections.abc import Iterable, Mapping
from urllib.parse import quote_plus, urlencode

import attrs

from mezite.core.oidc.answers import ProviderError, parse_object, shown, text_in
from mezite.core.oidc.connector import Connector, OidcSpec
from mezite.core.secret import Secret

__all__ = [
    "CallbackError",
    "RoundTripSecrets",
    "TokenAnswer",
    "authorization_url",
    "checked_code",
    "parse_token_answer",
    "single_value",
    "token_request",
]

MAX_CODE = 4096
"""Characters; Entra ID's codes have more than a thousand."""

GITHUB_SCOPES = ("read:org",)
"""Membership in organisations and teams, also where members hide it."""


class CallbackError(ProviderError):
    """What a browser has brought back is refused."""


@attrs.frozen(kw_only=True)
class RoundTripSecrets:
    """Nonce and PKCE verifier of one round trip.

    They are computed from the secret in the browser's cookie and the state, so the hub keeps neither, and another
    browser that brings the state and a code has nothing to redeem it with (threat E4).
    """

    nonce: str
    verifier: str

    @classmethod
    def derive(cls, browser_secret: str, state: str) -> "RoundTripSecrets":
        """Of this browser and this state."""
        return cls(
            nonce=derived(browser_secret, "nonce", state), verifier=derived(browser_secret, "verifier", state)
        )

    @property
    def challenge(self) -> str:
        """S256 of the verifier (RFC 7636 section 4.2)."""
        return base64url(hashlib.sha256(self.verifier.encode("ascii")).digest())


def derived(secret: str, purpose: str, state: str) -> str:
    message = f"mezite sso {purpose} {state}".encode()
    return base64url(hmac.new(secret.encode(), message, hashlib.sha256).digest())


def base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def authorization_url(
    endpoint: str, connector: Connector, *, redirect_url: str, state: str, secrets: RoundTripSecrets
) -> str:
    """Where the browser goes to sign in. Raises ProviderError: the endpoint says itself what is ours to say."""
    parameters = {
        "response_type": "code",
        "client_id": connector.client_id,
        "redirect_uri": redirect_url,
        "state": state,
        "code_challenge": secrets.challenge,
        "code_challenge_method": "S256",
    }
    if isinstance(connector.provider, OidcSpec):
        parameters |= {"scope": " ".join(connector.provider.scopes), "nonce": secrets.nonce}
    else:
        parameters |= {"scope": " ".join(GITHUB_SCOPES)}
    base, mark, query = endpoint.partition("?")
    own = {pair.partition("=")[0] for pair in query.split("&")}
    if own & parameters.keys():
        raise ProviderError(
            f"the authorization endpoint {shown(endpoint)} has parameters that are ours to give"
        )
    return f"{base}?{query}{'&' if mark and query else ''}{urlencode(parameters)}"


def single_value(parameters: Iterable[tuple[str, str]], name: str) -> str | None:
    """The one value of ``name``, or None. Raises CallbackError: it is given twice (threat D2)."""
    values = [value for key, value in parameters if key == name]
    if len(values) > 1:
        raise CallbackError(f"the provider's answer has {name} twice")
    return values[0] if values else None


def checked_code(
    parameters: Iterable[tuple[str, str]], *, issuer: str | None = None, iss_required: bool = False
) -> str:
    """The code in a callback whose state has been found to be this browser's.

    ``issuer`` None: the provider does not say who it is. Raises CallbackError: the answer is of another provider
    (mix-up, threat E4), a refusal, or carries tokens where only a code belongs.
    """
    parameters = list(parameters)
    named = single_value(parameters, "iss")
    if issuer is not None and named is not None and named != issuer:
        raise CallbackError(f"the answer is of another provider, {shown(named)}")
    if issuer is not None and named is None and iss_required:
        raise CallbackError("the answer does not say of which provider it is, as this provider's answers do")
    error = single_value(parameters, "error")
    if error is not None:
        description = single_value(parameters, "error_description") or ""
        raise CallbackError(
            f"the provider refuses: {shown(error)} {shown(description) if description else ''}".rstrip()
        )
    for name in ("id_token", "access_token", "token_type"):
        if single_value(parameters, name) is not None:
            raise CallbackError(f"the answer carries {name} in the URL, where only a code belongs")
    code = single_value(parameters, "code") or ""
    if not 0 < len(code) <= MAX_CODE or not (code.isascii() and code.isprintable()):
        raise CallbackError("the answer has no code")
    return code


def token_request(
    connector: Connector, *, code: str, redirect_url: str, verifier: str, secret_in_body: bool
) -> tuple[list[tuple[str, str]], bytes]:
    """Header fields and body of the request that redeems ``code`` (RFC 6749 sections 2.3.1 and 4.1.3)."""
    form = {
        "grant_type": "authorization_code",
        "code": code,
        "redirect_uri": redirect_url,
        "code_verifier": verifier,
    }
    headers = [
        ("accept", "application/json"),
        ("content-type", "application/x-www-form-urlencoded"),
    ]
    secret = connector.client_secret.reveal()
    if secret and not secret_in_body:
        pair = f"{quote_plus(connector.client_id)}:{quote_plus(secret)}"
        headers.append(("authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"))
    else:
        form |= {"client_id": connector.client_id, **({"client_secret": secret} if secret else {})}
    return headers, urlencode(form).encode()


@attrs.frozen(kw_only=True)
class TokenAnswer:
    """What a code was redeemed for."""

    access_token: Secret
    id_token: str
    """Empty when the provider sent none, as GitHub never does."""


def parse_token_answer(status: int, body: bytes) -> TokenAnswer:
    """The answer of a token endpoint. Raises ProviderError: it is a refusal, or incomplete.

    GitHub refuses with status 200, others with 400 and JSON.
    """
    if status >= 500:
        raise ProviderError(f"the token endpoint answers with status {status}")
    values = parse_object(body, "the token endpoint's answer")
    if "error" in values or status != 200:
        raise ProviderError(f"the token endpoint refuses the code: {refusal(values) or f'status {status}'}")
    kind = text_in(values, "token_type", "the token endpoint's answer")
    if kind.lower() != "bearer":
        raise ProviderError(f"the access token is of the type {shown(kind)}, which cannot be used here")
    access_token = text_in(values, "access_token", "the token endpoint's answer")
    if not (access_token.isascii() and access_token.isprintable()) or " " in access_token:
        raise ProviderError("the access token has characters that no token has")
    id_token = values.get("id_token", "")
    if not isinstance(id_token, str):
        raise ProviderError("the token endpoint's id_token is not text")
    return TokenAnswer(access_token=Secret(access_token), id_token=id_token)


def refusal(values: Mapping[str, object]) -> str:
    return " ".join(shown(values[name]) for name in ("error", "error_description") if name in values)
