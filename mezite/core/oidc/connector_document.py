# SPDX-License-Identifier: Apache-2.0
"""Connectors as documents: what a connector file says, checked key by key, and the same again as stored.

As with roles, a document is plain data as JSON has it, and scalars may be text throughout.
"""

import difflib
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from mezite.core.names import InvalidNameError, check_role_name, check_trait_name
from mezite.core.oidc.connector import (
    CALLBACK_PATHS,
    DEFAULT_SCOPES,
    Connector,
    ConnectorKind,
    GithubSpec,
    OidcSpec,
    RoleRule,
    TraitRule,
)
from mezite.core.oidc.provider_url import InvalidUrlError, parse_provider_url
from mezite.core.rbac.label_matcher import InvalidSelectorError, LabelSelector
from mezite.core.secret import Secret

__all__ = ["ConnectorProblem", "ConnectorProblems", "connector_document", "parse_connector"]

MAX_RULES = 256
"""Rules of one kind; each is compared at each login."""

MAX_TEXT = 512
"""Characters of a description, a title, a client id or a claim's name."""

MAX_SECRET = 4096
"""Characters; providers hand out some forty."""

MAX_SCOPES = 64
MAX_PEM = 64 * 1024
"""A bundle of a dozen roots; a document has 128 KiB in all."""

COMMON = (
    "display_name",
    "client_id",
    "client_secret",
    "claims_to_traits",
    "redirect_urls",
    "allow_private_network",
    "ca_pem",
)
KEYS = {
    ConnectorKind.OIDC: ("issuer", "scopes", "username_claim", "claims_to_roles", *COMMON),
    ConnectorKind.GITHUB: ("url", "api_url", "teams_to_roles", *COMMON),
}
KINDS = {kind.value: kind for kind in ConnectorKind}


@attrs.frozen(kw_only=True)
class ConnectorProblem:
    """One thing to mend."""

    key: str
    """Dotted path (``spec.claims_to_roles[0].roles``); empty for the document as a whole."""
    why: str
    hint: str = ""


class ConnectorProblems(ValueError):
    """The document is no connector. ``problems`` is never empty."""

    def __init__(self, problems: Sequence[ConnectorProblem]) -> None:
        self.problems = tuple(problems)
        texts = (
            f"{each.key or 'connector'}: {each.why}" + (f"; {each.hint}" if each.hint else "")
            for each in problems
        )
        super().__init__("\n".join(texts))


def parse_connector(document: object) -> Connector:
    """A connector from its document. Raises ConnectorProblems: everything that is wrong, at once."""
    reader = Reader()
    top = reader.section(document, "", ("kind", "version", "metadata", "spec"))
    kind = KINDS.get(top["kind"]) if isinstance(top.get("kind"), str) else None
    if kind is None:
        reader.refuse("kind", "expected oidc or github", "write kind: oidc")
    if top.get("version") != "v1":
        reader.refuse("version", "expected v1", "write version: v1")
    metadata = reader.section(top.get("metadata"), "metadata", ("name", "description"))
    name = reader.name(metadata.get("name"), "metadata.name")
    description = reader.text(metadata.get("description", ""), "metadata.description")
    if kind is None:
        raise ConnectorProblems(reader.problems)
    spec = reader.section(top.get("spec"), "spec", KEYS[kind])
    private = reader.flag(spec.get("allow_private_network", False), "spec.allow_private_network")
    secret = reader.text(spec.get("client_secret", ""), "spec.client_secret", limit=MAX_SECRET)
    values: dict[str, Any] = {
        "display_name": reader.text(spec.get("display_name", ""), "spec.display_name"),
        "client_id": reader.required(spec.get("client_id"), "spec.client_id"),
        "provider": reader.provider(kind, spec, private=private),
        "role_rules": reader.role_rules(kind, spec),
        "trait_rules": reader.trait_rules(spec.get("claims_to_traits")),
        "redirect_urls": reader.redirect_urls(kind, spec.get("redirect_urls")),
        "ca_pem": reader.pem(spec.get("ca_pem", ""), "spec.ca_pem"),
    }
    if reader.problems:
        raise ConnectorProblems(reader.problems)
    return Connector(
        name=name,
        description=description,
        client_secret=Secret(secret),
        allow_private_network=private,
        **values,
    )


class Reader:
    """Reads the parts of one document and collects what is wrong with them."""

    def __init__(self) -> None:
        self.problems: list[ConnectorProblem] = []

    def refuse(self, key: str, why: str, hint: str = "") -> None:
        self.problems.append(ConnectorProblem(key=key, why=why, hint=hint))

    def section(self, value: object, path: str, known: Sequence[str]) -> dict[str, Any]:
        """The entries of a mapping that has no keys but ``known``; what is not there is empty."""
        if value is not None and not isinstance(value, Mapping):
            self.refuse(path, "expected keys and values", "write key: value")
            return {}
        entries = {str(key): entry for key, entry in (value or {}).items()}
        for key in entries:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known here are {', '.join(known)}"
                self.refuse(f"{path}.{key}" if path else key, "unknown key", hint)
        return {key: entry for key, entry in entries.items() if key in known and entry is not None}

    def text(self, value: object, path: str, *, limit: int = MAX_TEXT) -> str:
        if not isinstance(value, str):
            self.refuse(path, "expected text")
            return ""
        if len(value) > limit:
            self.refuse(path, f"longer than {limit} characters")
        return value

    def required(self, value: object, path: str, hint: str = "") -> str:
        text = self.text(value, path) if value is not None else ""
        if value is None or value == "":
            self.refuse(path, "is missing", hint)
        return text

    def flag(self, value: object, path: str) -> bool:
        if value not in (True, False, "true", "false") or (value in (0, 1) and not isinstance(value, bool)):
            self.refuse(path, "expected true or false")
        return value in (True, "true")

    def name(self, value: object, path: str) -> str:
        try:
            return check_role_name(self.text(value, path) if value is not None else "")
        except InvalidNameError as error:
            self.refuse(path, str(error).replace("role name", "connector name"))
            return ""

    def texts(self, value: object, path: str, *, limit: int) -> tuple[str, ...]:
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.refuse(path, "expected a list of texts", "write [a, b]")
            return ()
        if len(value) > limit:
            self.refuse(path, f"{len(value)} entries; {limit} are allowed")
        return tuple(self.text(item, f"{path}[{number}]") for number, item in enumerate(value))

    def url(self, value: object, path: str, *, private: bool) -> str:
        text = self.required(value, path)
        try:
            if text and "?" in parse_provider_url(text, plain_on_loopback=private).target:
                self.refuse(path, "a URL with a query", "leave away what follows the question mark")
        except InvalidUrlError as error:
            self.refuse(path, f"cannot be used: {error}", "write https://…")
        return text

    def provider(
        self, kind: ConnectorKind, spec: Mapping[str, Any], *, private: bool
    ) -> OidcSpec | GithubSpec:
        if kind is ConnectorKind.GITHUB:
            urls = {key: spec.get(key, getattr(GithubSpec(), key)) for key in ("url", "api_url")}
            read = {key: self.url(value, f"spec.{key}", private=private) for key, value in urls.items()}
            return GithubSpec(**{key: text.rstrip("/") for key, text in read.items()})
        issuer = self.url(spec.get("issuer"), "spec.issuer", private=private)
        scopes = self.scopes(spec.get("scopes"), "spec.scopes")
        claim = self.required(spec.get("username_claim", "email"), "spec.username_claim")
        return OidcSpec(issuer=issuer, scopes=scopes, username_claim=claim)

    def scopes(self, value: object, path: str) -> tuple[str, ...]:
        scopes = self.texts(value, path, limit=MAX_SCOPES) if value is not None else DEFAULT_SCOPES
        for number, scope in enumerate(scopes):
            if not scope.isascii() or not scope.isprintable() or not scope or set(scope) & set(' "\\'):
                self.refuse(f"{path}[{number}]", f"{scope!r} is not a scope")
        if "openid" not in scopes:
            self.refuse(path, "the scope openid is missing", "write [openid, email, profile]")
        return scopes

    def rules(self, value: object, path: str, known: Sequence[str]) -> list[tuple[str, dict[str, Any]]]:
        if value is None:
            return []
        if not isinstance(value, list):
            self.refuse(path, "expected a list of rules", f"write - {known[0]}: … in a line of its own")
            return []
        if len(value) > MAX_RULES:
            self.refuse(path, f"{len(value)} rules; {MAX_RULES} are allowed")
            return []
        places = [f"{path}[{number}]" for number in range(len(value))]
        return [(place, self.section(rule, place, known)) for place, rule in zip(places, value, strict=True)]

    def role_rules(self, kind: ConnectorKind, spec: Mapping[str, Any]) -> tuple[RoleRule, ...]:
        if kind is ConnectorKind.OIDC:
            path, known = "spec.claims_to_roles", ("claim", "value", "roles")
            rules = self.rules(spec.get("claims_to_roles"), path, known)
            return tuple(self.claim_rule(rule, place) for place, rule in rules)
        path, known = "spec.teams_to_roles", ("org", "team", "roles")
        rules = self.rules(spec.get("teams_to_roles"), path, known)
        return tuple(self.team_rule(rule, place) for place, rule in rules)

    def claim_rule(self, rule: Mapping[str, Any], path: str) -> RoleRule:
        claim = self.required(rule.get("claim"), f"{path}.claim")
        value = self.required(rule.get("value"), f"{path}.value", "write a value, '*' or ^…$")
        return self.rule(claim, value, rule.get("roles"), path)

    def team_rule(self, rule: Mapping[str, Any], path: str) -> RoleRule:
        # GitHub folds the case of organisations and teams.
        org = self.required(rule.get("org"), f"{path}.org").lower()
        team = self.text(rule.get("team", ""), f"{path}.team").lower()
        for key, text in (("org", org), ("team", team)):
            if not set(text) <= TEAM_CHARACTERS:
                self.refuse(f"{path}.{key}", f"{text!r} is not what GitHub calls a {key}", "as in its URL")
        return self.rule(*(("teams", f"{org}/{team}") if team else ("orgs", org)), rule.get("roles"), path)

    def rule(self, claim: str, value: str, roles: object, path: str) -> RoleRule:
        names = self.texts(roles, f"{path}.roles", limit=MAX_RULES)
        if not names:
            self.refuse(f"{path}.roles", "no role is named", "write [a, b]")
        for number, name in enumerate(names):
            try:
                check_role_name(name)
            except InvalidNameError as error:
                self.refuse(f"{path}.roles[{number}]", str(error))
        condition = LabelSelector.parse({"claim": ["none"]}).conditions["claim"]
        try:
            condition = LabelSelector.parse({"claim": [value]}).conditions["claim"]
        except InvalidSelectorError as error:
            self.refuse(f"{path}.value", str(error).removeprefix("label 'claim': "))
        return RoleRule(claim=claim, value=value, condition=condition, roles=names)

    def trait_rules(self, value: object) -> tuple[TraitRule, ...]:
        found = []
        for place, rule in self.rules(value, "spec.claims_to_traits", ("claim", "trait")):
            claim = self.required(rule.get("claim"), f"{place}.claim")
            trait = self.required(rule.get("trait", claim), f"{place}.trait")
            try:
                check_trait_name(trait or "none")
            except InvalidNameError as error:
                self.refuse(f"{place}.trait", str(error))
            found.append(TraitRule(claim=claim, trait=trait))
        return tuple(found)

    def redirect_urls(self, kind: ConnectorKind, value: object) -> tuple[str, ...]:
        path, wanted = "spec.redirect_urls", CALLBACK_PATHS[kind]
        urls = self.texts(value, path, limit=MAX_RULES)
        for number, url in enumerate(urls):
            try:
                target = parse_provider_url(url, plain_on_loopback=True).target
            except InvalidUrlError as error:
                self.refuse(f"{path}[{number}]", f"cannot be used: {error}", f"write https://HUB{wanted}")
                continue
            if target != wanted:
                self.refuse(f"{path}[{number}]", "not this hub's callback", f"write https://HUB{wanted}")
        return urls

    def pem(self, value: object, path: str) -> str:
        text = self.text(value, path, limit=MAX_PEM)
        if text and not (text.isascii() and "-----BEGIN CERTIFICATE-----" in text):
            self.refuse(path, "no certificate in PEM form", "write |, then the lines of the file, indented")
        return text


TEAM_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")


def connector_document(connector: Connector, *, secret: bool = False) -> dict[str, object]:
    """The document of ``connector`` in one spelling; parse_connector gives it back.

    The client secret is left out unless ``secret`` says otherwise: it is shown to nobody again (threat H6).
    """
    provider = connector.provider
    spec: dict[str, object] = {
        "display_name": connector.display_name,
        **attrs.asdict(provider, value_serializer=lambda _type, _field, value: plain(value)),
        "client_id": connector.client_id,
    }
    if secret:
        spec["client_secret"] = connector.client_secret.reveal()
    if isinstance(provider, OidcSpec):
        spec["claims_to_roles"] = [
            {"claim": rule.claim, "value": rule.value, "roles": list(rule.roles)}
            for rule in connector.role_rules
        ]
    else:
        spec["teams_to_roles"] = [team_document(rule) for rule in connector.role_rules]
    spec |= {
        "claims_to_traits": [{"claim": rule.claim, "trait": rule.trait} for rule in connector.trait_rules],
        "redirect_urls": list(connector.redirect_urls),
        "allow_private_network": connector.allow_private_network,
        "ca_pem": connector.ca_pem,
    }
    return {
        "kind": connector.kind.value,
        "version": "v1",
        "metadata": {"name": connector.name, "description": connector.description},
        "spec": spec,
    }


def plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def team_document(rule: RoleRule) -> dict[str, object]:
    org, _, team = rule.value.partition("/")
    return {"org": org, **({"team": team} if team else {}), "roles": list(rule.roles)}
