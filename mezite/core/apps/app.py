# SPDX-License-Identifier: Apache-2.0
"""An application as everybody who serves it sees it: a value that is right once it is made."""

import enum
import re
from collections.abc import Mapping
from functools import cached_property

import attrs

from mezite.core.apps.upstream_uri import UpstreamScheme, UpstreamUri, parse_upstream_uri
from mezite.core.http1.client_fields import is_reserved
from mezite.core.labels import check_labels
from mezite.core.names import check_app_name, check_node_name

__all__ = ["DEFAULT_OPTIONS", "App", "AppOptions", "AppProtocol", "InvalidAppError", "check_origin"]

MAX_AGENTS = 64
"""Agents of one application. Each request chooses among those that are connected, and lists show them all."""

MAX_ORIGINS = 64
"""Origins of one application: as many as pages that call it."""

MAX_HEADER_RULES = 32
"""Rules in each direction. They are applied to every request."""

MAX_CA_PEM = 64 * 1024
"""Bytes: some twenty certificates. It is read for each connection to the application."""

MAX_HEADER_VALUE = 1024

HEALTH_SECONDS = 30
"""Between two checks where only a path was given: an agent that fails is noticed within a minute."""

MAX_HEALTH_SECONDS = 3600
"""What is looked at less than once an hour tells nothing about now."""

HEALTH_PATH = re.compile(r"/[!-\"$-~]{0,1023}", re.ASCII)
"""As it stands in a request line; a fragment is never sent."""

ORIGIN = re.compile(
    r"https?://(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*|\[[0-9a-f:]+\])(?::[1-9][0-9]{0,4})?",
    re.ASCII,
)
"""As browsers write it in an Origin field: lower case, no path."""

FIELD_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,63}", re.ASCII)
"""Field names that no server confuses with others: no ``_`` and no ``.`` (threat D4)."""

UNRULED = frozenset({"content-length", "expect", "set-cookie", "cookie"})
"""Framing, and what sessions hang on; with them go all names that are reserved (threats D4, D6)."""

FIELD_VALUE = re.compile(r"(?:[!-~](?:[ !-~]*[!-~])?)?", re.ASCII)


class InvalidAppError(ValueError):
    """An application that cannot be; the message says why and what would be possible."""


class AppProtocol(enum.StrEnum):
    """What an application speaks with its users."""

    HTTP = "http"
    TCP = "tcp"


def check_origin(origin: str) -> str:
    """Return ``origin`` if a browser may call itself so: ``https://grafana.apps.example.com``.

    Raises InvalidAppError: ``*`` too, since answers to signed-in users are not for every page there is.
    """
    if origin == "*":
        raise InvalidAppError(
            "the origin * would let every page read answers meant for its user: name the origins"
        )
    if len(origin) > 300 or ORIGIN.fullmatch(origin) is None:
        raise InvalidAppError(
            f"{origin[:100]!r} is not an origin: write https://HOST[:PORT] in lower case, without a path"
        )
    return origin


def check_rules(
    instance: "AppOptions", attribute: "attrs.Attribute[Mapping[str, str]]", rules: Mapping[str, str]
) -> None:
    if len(rules) > MAX_HEADER_RULES:
        raise InvalidAppError(f"there are {len(rules)} header rules; at most {MAX_HEADER_RULES} are allowed")
    for name, value in rules.items():
        if FIELD_NAME.fullmatch(name) is None:
            raise InvalidAppError(
                f"{name[:100]!r} is not a header name: use lower-case letters, digits and -"
            )
        if is_reserved(name) or name in UNRULED:
            raise InvalidAppError(f"the header {name} is written by the hub: no rule may change it")
        if len(value) > MAX_HEADER_VALUE or FIELD_VALUE.fullmatch(value) is None:
            raise InvalidAppError(
                f"the value for header {name} is not allowed: printable ASCII without outer spaces, "
                f"{MAX_HEADER_VALUE} characters at most"
            )


@attrs.frozen(kw_only=True)
class AppOptions:
    """How an application is served. Raises InvalidAppError when made."""

    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call it with the user's session."""
    ca_pem: str = ""
    """Certificates in PEM that an ``https://`` upstream is verified against; empty: the system's roots."""
    insecure_skip_verify: bool = False
    """Whoever answers at an ``https://`` upstream is believed."""
    request_headers: Mapping[str, str] = attrs.field(factory=dict, validator=check_rules)
    """Fields of requests that are replaced, by name in lower case; an empty value removes the field."""
    response_headers: Mapping[str, str] = attrs.field(factory=dict, validator=check_rules)
    """The same for responses."""
    max_body: int = 0
    """Bytes that the body of one request may have; 0: any number."""
    rewrite_location: bool = False
    """Whether the upstream's own address in Location fields and in cookies' domains becomes the public one."""
    http1_only: bool = False
    """An ``https://`` upstream is not offered HTTP/2."""
    health_path: str = ""
    """Below the URI's path; 2xx or 3xx in answer to it is health. Empty: being connected to is."""
    health_interval: int = 0
    """Seconds between two checks through each agent; 0: as `health_seconds` says."""

    def __attrs_post_init__(self) -> None:
        """Check what no validator has."""
        if len(self.cors_origins) > MAX_ORIGINS:
            raise InvalidAppError(
                f"there are {len(self.cors_origins)} origins; at most {MAX_ORIGINS} are allowed"
            )
        for origin in self.cors_origins:
            check_origin(origin)
        if len(self.ca_pem) > MAX_CA_PEM:
            raise InvalidAppError(f"the CA certificates have more than {MAX_CA_PEM} bytes")
        if self.ca_pem and self.insecure_skip_verify:
            raise InvalidAppError(
                "CA certificates and insecure-skip-verify contradict each other: choose one"
            )
        if self.max_body < 0:
            raise InvalidAppError("a body of less than 0 bytes cannot be")
        if self.health_path and HEALTH_PATH.fullmatch(self.health_path) is None:
            raise InvalidAppError(
                f"the health path {self.health_path[:100]!r} is not a path: begin with /, without spaces and #"
            )
        if not 0 <= self.health_interval <= MAX_HEALTH_SECONDS:
            raise InvalidAppError(
                f"a health check every {self.health_interval} s cannot be: choose from 1s to 1h"
            )

    @property
    def health_seconds(self) -> int:
        """Seconds between two health checks through each agent; 0: health is not checked."""
        return self.health_interval or (HEALTH_SECONDS if self.health_path else 0)


DEFAULT_OPTIONS = AppOptions()


@attrs.frozen(kw_only=True)
class App:
    """One application. Raises ValueError when made: a name, label, URI or combination that cannot be.

    Whether ``public_addr`` is below the hub's apps domain is not asked here: that is what registering does
    (``check_public_address``), and an application outlives a change of the domain.
    """

    name: str = attrs.field(validator=lambda _instance, _attribute, name: check_app_name(name))
    uri: str
    """Where agents dial, as it was registered: the audience of assertions."""
    public_addr: str = ""
    """The host name for browsers, in lower case; empty for TCP."""
    labels: Mapping[str, str] = attrs.field(
        factory=dict, validator=lambda _i, _a, labels: check_labels(labels)
    )
    protocol: AppProtocol = attrs.field(default=AppProtocol.HTTP, converter=AppProtocol)
    agent_hostnames: tuple[str, ...] = ()
    """Names of the nodes whose agents reach it, in the order they were bound, each once."""
    enabled: bool = True
    options: AppOptions = DEFAULT_OPTIONS

    def __attrs_post_init__(self) -> None:
        """Check what concerns several fields."""
        is_tcp = self.upstream.scheme is UpstreamScheme.TCP
        if is_tcp != (self.protocol is AppProtocol.TCP):
            wanted = "tcp://" if self.protocol is AppProtocol.TCP else "http://, https:// or h2c://"
            raise InvalidAppError(
                f"the protocol {self.protocol} does not go with {self.uri}: write a URI with {wanted}, "
                f"or --protocol={'tcp' if is_tcp else 'http'}"
            )
        if is_tcp and self.public_addr:
            raise InvalidAppError(
                "a TCP application has no public address: users reach it with `msh app login`; leave it out"
            )
        if not is_tcp and not self.public_addr:
            raise InvalidAppError(
                "an HTTP application needs a public address: the host name that browsers use"
            )
        self._check_agents()
        self._check_options()

    def _check_agents(self) -> None:
        if len(self.agent_hostnames) > MAX_AGENTS:
            raise InvalidAppError(
                f"there are {len(self.agent_hostnames)} agents; at most {MAX_AGENTS} are allowed"
            )
        for host_name in self.agent_hostnames:
            check_node_name(host_name)
        if len(set(self.agent_hostnames)) != len(self.agent_hostnames):
            raise InvalidAppError("an agent is named twice")

    def _check_options(self) -> None:
        options = self.options
        if self.upstream.scheme is not UpstreamScheme.HTTPS and (
            options.ca_pem or options.insecure_skip_verify
        ):
            raise InvalidAppError(
                f"there is no certificate to verify at {self.uri}: CA certificates and insecure-skip-verify "
                "are for https:// only"
            )
        if self.protocol is AppProtocol.TCP and attrs.evolve(options, health_interval=0) != DEFAULT_OPTIONS:
            raise InvalidAppError(
                "origins, header rules, limits of bodies and health paths are for HTTP applications only"
            )

    @cached_property
    def upstream(self) -> UpstreamUri:
        """The parts of ``uri``."""
        return parse_upstream_uri(self.uri)
