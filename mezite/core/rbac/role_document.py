# SPDX-License-Identifier: Apache-2.0
"""Roles as documents: what a role file says, checked key by key, and the same again as stored.

A document is plain data as JSON has it. Scalars may be text throughout (``"true"``, ``"5"``), so that a reader
of YAML can hand over what was written instead of what YAML makes of it.
"""

import difflib
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import attrs

from mezite.core.durations import format_duration, parse_duration
from mezite.core.names import InvalidNameError, check_node_name, check_role_name
from mezite.core.rbac.label_matcher import NOTHING, InvalidSelectorError, LabelSelector
from mezite.core.rbac.login_templates import ANY_LOGIN, InvalidLoginError, check_login_entry
from mezite.core.rbac.request_rules import check_role_entry
from mezite.core.rbac.role_options import RecordSession, RoleOptions, SessionMfa
from mezite.core.rbac.roles import Conditions, Role

__all__ = ["RoleProblem", "RoleProblems", "parse_role", "role_document"]

MAX_ENTRIES = 256
"""Of logins, roles or nodes in one list: a user certificate has no place for more logins."""

MAX_DESCRIPTION = 512
"""Characters: a sentence or two."""

MAX_APPROVALS = 16
"""More reviewers than that never come together."""

DURATIONS = frozenset({"max_session_ttl", "idle_timeout"})
SPELLINGS = {"hardware-key": "hardware_key", "off": ""}
"""Other spellings of a second factor: one of the product's pages has the one, YAML users write the other."""


@attrs.frozen(kw_only=True)
class RoleProblem:
    """One thing to mend."""

    key: str
    """Dotted path (``spec.allow.logins``); empty for the document as a whole."""
    why: str
    hint: str = ""


class RoleProblems(ValueError):
    """The document is no role. ``problems`` is never empty."""

    def __init__(self, problems: Sequence[RoleProblem]) -> None:
        self.problems = tuple(problems)
        texts = (
            f"{each.key or 'role'}: {each.why}" + (f"; {each.hint}" if each.hint else "") for each in problems
        )
        super().__init__("\n".join(texts))


def parse_role(document: object) -> Role:
    """A role from its document. Raises RoleProblems: everything that is wrong, at once."""
    reader = Reader()
    top = reader.section(document, "", ("kind", "version", "metadata", "spec"))
    for key, wanted in (("kind", "role"), ("version", "v1")):
        if top.get(key) != wanted:
            reader.refuse(key, f"expected {wanted}", f"write {key}: {wanted}")
    metadata = reader.section(top.get("metadata"), "metadata", ("name", "description"))
    spec = reader.section(top.get("spec"), "spec", ("options", "allow", "deny"))
    name = reader.role_name(metadata.get("name"), "metadata.name")
    description = reader.text(metadata.get("description", ""), "metadata.description")
    if len(description) > MAX_DESCRIPTION:
        reader.refuse("metadata.description", f"longer than {MAX_DESCRIPTION} characters")
    options = reader.options(spec.get("options"), "spec.options")
    allow, deny = reader.allow(spec.get("allow")), reader.deny(spec.get("deny"))
    if reader.problems:
        raise RoleProblems(reader.problems)
    return Role(name=name, description=description, options=options, allow=allow, deny=deny)


class Reader:
    """Reads the parts of one document and collects what is wrong with them."""

    def __init__(self) -> None:
        self.problems: list[RoleProblem] = []

    def refuse(self, key: str, why: str, hint: str = "") -> None:
        self.problems.append(RoleProblem(key=key, why=why, hint=hint))

    def section(self, value: object, path: str, known: Sequence[str]) -> dict[str, Any]:
        """The entries of a mapping that has no keys but ``known``; what is not there is empty."""
        entries = self.mapping(value, path)
        for key in entries:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known here are {', '.join(known)}"
                self.refuse(joined(path, key), "unknown key", hint)
        return {key: entry for key, entry in entries.items() if key in known and entry is not None}

    def mapping(self, value: object, path: str) -> dict[str, object]:
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self.refuse(path, "expected keys and values", "write key: value")
            return {}
        return {str(key): entry for key, entry in value.items()}

    def text(self, value: object, path: str) -> str:
        if not isinstance(value, str):
            self.refuse(path, "expected text")
            return ""
        return value

    def texts(self, value: object, path: str) -> list[str]:
        if value is None:
            return []
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.refuse(path, "expected a list of texts", "write [a, b]")
            return []
        if len(value) > MAX_ENTRIES:
            self.refuse(path, f"{len(value)} entries; {MAX_ENTRIES} are allowed")
            return []
        return value

    def role_name(self, value: object, path: str) -> str:
        try:
            return check_role_name(self.text(value, path) if value is not None else "")
        except InvalidNameError as error:
            self.refuse(path, str(error))
            return ""

    def options(self, value: object, path: str) -> RoleOptions:
        fields = attrs.fields_dict(RoleOptions)
        entries = self.section(value, path, tuple(fields))
        values: dict[str, Any] = {}
        for key, entry in entries.items():
            try:
                values[key] = option_value(key, entry, type(fields[key].default))
            except ValueError as error:
                self.refuse(f"{path}.{key}", str(error))
        return RoleOptions(**values)

    def allow(self, value: object) -> Conditions:
        path = "spec.allow"
        known = ("node_labels", "app_labels", "logins", "request_roles", "review_roles", "request_resources")
        side = self.section(value, path, known)
        resources = self.section(side.get("request_resources"), f"{path}.request_resources", ("nodes",))
        return Conditions(
            node_labels=self.selector(side.get("node_labels"), f"{path}.node_labels"),
            app_labels=self.selector(side.get("app_labels"), f"{path}.app_labels"),
            logins=self.logins(side.get("logins"), f"{path}.logins", any_login=False),
            request_roles=self.names(side.get("request_roles"), f"{path}.request_roles", check_role_entry),
            review_roles=self.names(side.get("review_roles"), f"{path}.review_roles", check_role_entry),
            request_resources={
                kind: self.names(entry, f"{path}.request_resources.{kind}", check_node_name)
                for kind, entry in resources.items()
            },
        )

    def deny(self, value: object) -> Conditions:
        path = "spec.deny"
        side = self.section(value, path, ("node_labels", "app_labels", "logins"))
        return Conditions(
            node_labels=self.selector(side.get("node_labels"), f"{path}.node_labels"),
            app_labels=self.selector(side.get("app_labels"), f"{path}.app_labels"),
            logins=self.logins(side.get("logins"), f"{path}.logins", any_login=True),
        )

    def selector(self, value: object, path: str) -> LabelSelector:
        selector: dict[str, list[str]] = {}
        for key, entry in self.mapping(value, path).items():
            values = [entry] if isinstance(entry, str) else self.texts(entry, joined(path, key))
            try:
                LabelSelector.parse({key: values})
                selector[key] = values
            except InvalidSelectorError as error:
                self.refuse(joined(path, key), str(error))
        try:
            return LabelSelector.parse(selector)
        except InvalidSelectorError as error:
            self.refuse(path, str(error))
            return NOTHING

    def logins(self, value: object, path: str, *, any_login: bool) -> tuple[str, ...]:
        entries = self.texts(value, path)
        for number, entry in enumerate(entries):
            if entry == ANY_LOGIN:
                if not any_login:
                    hint = "name the logins, or use {{internal.logins}}"
                    self.refuse(f"{path}[{number}]", "'*' may stand in deny only", hint)
                continue
            try:
                check_login_entry(entry)
            except InvalidLoginError as error:
                self.refuse(f"{path}[{number}]", str(error))
        return () if self.problems else tuple(entries)

    def names(self, value: object, path: str, check: Any) -> tuple[str, ...]:
        entries = self.texts(value, path)
        for number, entry in enumerate(entries):
            try:
                check(entry)
            except ValueError as error:
                self.refuse(f"{path}[{number}]", str(error))
        return tuple(entries)


def joined(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def option_value(key: str, value: object, kind: type) -> object:
    """Raises ValueError: ``value`` is none that option ``key`` can have."""
    if kind is bool:
        if value not in (True, False, "true", "false") or (value in (0, 1) and not isinstance(value, bool)):
            raise ValueError("expected true or false")
        return value in (True, "true")
    if kind is int:
        return seconds_or_count(key, value)
    assert issubclass(kind, Enum), "options are flags, numbers and enumerations"
    text = SPELLINGS.get(value, value) if kind is SessionMfa and isinstance(value, str) else value
    try:
        return kind(text)
    except ValueError:
        spellings = [str(member.value) for member in kind]
        known = ", ".join(map(repr, spellings))
        near = difflib.get_close_matches(str(value), spellings, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{value!r} is none of {known}{hint}") from None


def seconds_or_count(key: str, value: object) -> int:
    if key in DURATIONS:
        seconds = parse_duration(value if isinstance(value, str) else repr(value))
        if key == "max_session_ttl" and seconds < 60:
            raise ValueError("shorter than 1m, so that nobody could log in")
        return seconds
    text = str(value)
    if not (text.isascii() and text.isdigit()) or len(text) > 6:
        raise ValueError("expected a whole number below a million; 0 is no limit")
    if key == "request_approvals" and not 1 <= int(text) <= MAX_APPROVALS:
        raise ValueError(f"expected 1 to {MAX_APPROVALS} reviewers")
    return int(text)


def role_document(role: Role) -> dict[str, object]:
    """The document of ``role``, complete and in one spelling; parse_role gives the role back."""
    options: dict[str, object] = {}
    for key, value in attrs.asdict(role.options, recurse=False).items():
        if key in DURATIONS:
            options[key] = format_duration(value)
        else:
            options[key] = value.value if isinstance(value, SessionMfa | RecordSession) else value
    allow, deny = conditions_document(role.allow), conditions_document(role.deny)
    allow["request_roles"] = list(role.allow.request_roles)
    allow["review_roles"] = list(role.allow.review_roles)
    allow["request_resources"] = {kind: list(names) for kind, names in role.allow.request_resources.items()}
    return {
        "kind": "role",
        "version": "v1",
        "metadata": {"name": role.name, "description": role.description},
        "spec": {"options": options, "allow": allow, "deny": deny},
    }


def conditions_document(conditions: Conditions) -> dict[str, object]:
    return {
        "node_labels": conditions.node_labels.document(),
        "app_labels": conditions.app_labels.document(),
        "logins": list(conditions.logins),
    }
