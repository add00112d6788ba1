# SPDX-License-Identifier: Apache-2.0
"""What must hold between keys, and what an operator should be told although it is allowed."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import Any

import attrs

from mezite.config.keys import walk
from mezite.config.kinds import ListenAddress, Network
from mezite.config.schema import AgentConfig, DatabaseConfig, HubConfig

__all__ = ["AGENT_CHECKS", "HUB_CHECKS", "Check", "agent_notes", "hub_notes"]

Finding = tuple[str, str, str]
"""Key, why, hint."""


@attrs.frozen
class Check:
    """One rule between keys."""

    needs: tuple[str, ...]
    """Keys without which the rule says nothing."""
    find: Callable[[Any, frozenset[str]], Iterator[Finding]]
    """Given the configuration and the keys that were set by hand: what is wrong."""


def _covers_everything(networks: Sequence[Network]) -> bool:
    """Whether ``networks`` together are all of IPv4 or all of IPv6, however they are cut (C1)."""
    v4 = list(collapse_addresses(network for network in networks if isinstance(network, IPv4Network)))
    v6 = list(collapse_addresses(network for network in networks if isinstance(network, IPv6Network)))
    return any(network.prefixlen == 0 for network in v4) or any(network.prefixlen == 0 for network in v6)


def _trusted_proxies(config: HubConfig, _: frozenset[str]) -> Iterator[Finding]:
    """Whoever may send a PROXY header chooses the client address that limits and pins see (C1)."""
    key = "proxy.proxy_protocol_trusted_cidrs"
    if config.proxy.proxy_protocol == "off":
        return
    if not config.proxy.proxy_protocol_trusted_cidrs:
        yield key, "is empty while proxy.proxy_protocol is on", "list the load balancer's own addresses"
    elif _covers_everything(config.proxy.proxy_protocol_trusted_cidrs):
        yield key, "trusts every address", "list only the load balancer's own addresses"


def _trusted_header(config: HubConfig, _: frozenset[str]) -> Iterator[Finding]:
    key = "proxy.trusted_ip_header_cidrs"
    if config.proxy.trusted_ip_header is None:
        return
    if not config.proxy.trusted_ip_header_cidrs:
        yield key, "is empty while proxy.trusted_ip_header is set", "list the load balancer's own addresses"
    elif _covers_everything(config.proxy.trusted_ip_header_cidrs):
        yield key, "trusts every address", "list only the load balancer's own addresses"


def _keypairs(config: HubConfig, _: frozenset[str]) -> Iterator[Finding]:
    if config.proxy.tls_mode == "file":
        for part in ("cert_file", "key_file"):
            if getattr(config.proxy.keypair, part) is None:
                yield (
                    f"proxy.keypair.{part}",
                    "is needed by proxy.tls_mode file",
                    "give the path of a PEM file",
                )
    apps = config.proxy.apps_keypair
    if (apps.cert_file is None) != (apps.key_file is None):
        missing = "cert_file" if apps.cert_file is None else "key_file"
        yield f"proxy.apps_keypair.{missing}", "is missing", "give both files or neither"


def _webhooks(config: HubConfig, _: frozenset[str]) -> Iterator[Finding]:
    hooks = config.webhooks
    if hooks.url is not None and hooks.secret_file is None:
        yield "webhooks.secret_file", "is needed by webhooks.url", "give a file with a secret, mode 0600"
    if hooks.url is None and hooks.secret_file is not None:
        yield "webhooks.url", "is missing", "give both webhooks.url and webhooks.secret_file, or neither"


def _database(config: HubConfig, given: frozenset[str]) -> Iterator[Finding]:
    database = config.database
    parts = [f"database.{name}" for name in ("host", "port", "user", "password", "name", "sslmode")]
    used_parts = [path for path in parts if path in given]
    postgres = database.driver in {"postgres", "postgresql"}
    if database.url is not None:
        yield from _database_url(database)
        for path in used_parts:
            yield path, "has no effect beside database.url", "put it into the URL or leave database.url out"
    elif postgres and database.name is None:
        yield "database.name", "is needed by driver postgres", "or set database.url"
    elif not postgres:
        for path in used_parts:
            yield path, "has no effect with SQLite", "set database.driver: postgres"


def _database_url(database: DatabaseConfig) -> Iterator[Finding]:
    assert database.url is not None
    scheme, separator, _ = database.url.reveal().partition("://")
    is_postgres_url = scheme in {"postgres", "postgresql"}
    if separator and not is_postgres_url and scheme != "sqlite":
        yield "database.url", f"{scheme[:20]}:// is not a known database", "write a path or postgres://…"
    elif database.driver == "sqlite" and is_postgres_url:
        yield "database.driver", "sqlite does not fit the postgres:// URL", "leave database.driver out"
    elif database.driver in {"postgres", "postgresql"} and not is_postgres_url:
        yield (
            "database.url",
            "is a path, but database.driver is postgres",
            "write postgres://user:pass@host/db",
        )


def _listeners(config: HubConfig, _: frozenset[str]) -> Iterator[Finding]:
    own_ports = {
        "proxy.ssh_listen_addr": config.proxy.ssh_listen_addr,
        "proxy.tunnel_listen_addr": config.proxy.tunnel_listen_addr,
        "auth.listen_addr": config.auth.listen_addr,
    }
    listeners = {
        "proxy.listen_addr": config.proxy.listen_addr,
        **({} if config.proxy.single_port and config.proxy.enabled else own_ports),
        "hub.peer_listen_addr": config.hub.peer_listen_addr,
        "diag.listen_addr": config.diag.listen_addr,
    }
    seen: dict[tuple[str, int], str] = {}
    for path, address in listeners.items():
        first = seen.setdefault((address.host, address.port), path)
        if first != path and address.port:
            yield path, f"{address} is already the address of {first}", "give each listener its own port"


def _services(config: HubConfig, _: frozenset[str]) -> Iterator[Finding]:
    if not config.auth.enabled and not config.proxy.enabled:
        yield "proxy.enabled", "and auth.enabled are both false: nothing is left to serve", "enable one"
    if config.recording.storage == "s3" and config.recording.s3.bucket is None:
        yield "recording.s3.bucket", "is needed by recording.storage s3", "give the bucket's name"


HUB_CHECKS = (
    Check(("proxy.proxy_protocol", "proxy.proxy_protocol_trusted_cidrs"), _trusted_proxies),
    Check(("proxy.trusted_ip_header", "proxy.trusted_ip_header_cidrs"), _trusted_header),
    Check(("proxy.tls_mode", "proxy.keypair.cert_file", "proxy.keypair.key_file"), _keypairs),
    Check(("webhooks.url", "webhooks.secret_file"), _webhooks),
    Check(("database.driver", "database.url", "database.name"), _database),
    Check((), _listeners),
    Check((), _services),
)


def _addresses(config: AgentConfig, _: frozenset[str]) -> Iterator[Finding]:
    if not config.proxy_addr:
        yield "proxy_addr", "is not set", "set it, or MEZITE_PROXY_ADDR, to the hub's tunnel address"


def _join_tokens(config: AgentConfig, _: frozenset[str]) -> Iterator[Finding]:
    if config.join_token is not None and config.join_token_file is not None:
        yield "join_token_file", "has no effect beside join_token", "keep one of them"


AGENT_CHECKS = (
    Check(("proxy_addr",), _addresses),
    Check(("join_token", "join_token_file"), _join_tokens),
)


# Keys, or whole sections, that are read and checked but obeyed by no part of the program yet, and what happens
# instead. Each goes with its feature: tests/config/test_checks.py compares this list with the code.
NOT_OBEYED_YET: Mapping[str, str] = {
    "ssh.enabled": "proxy.ssh_listen_addr is always bound",
    "recording": "sessions are not recorded",
    "audit": "audit events are kept for ever",
    "hub": "hubs do not talk to each other",
}
AGENT_NOT_OBEYED_YET: Mapping[str, str] = {}


def _apps_notes(config: HubConfig) -> list[str]:
    """What is set for applications and does nothing."""
    proxy = config.proxy
    if proxy.apps_keypair.cert_file is None:
        return []
    if proxy.apps_domain is None:
        return ["proxy.apps_keypair: has no effect without proxy.apps_domain"]
    if proxy.tls_mode == "off":
        return [
            "proxy.apps_keypair: has no effect with proxy.tls_mode off: the load balancer shows the certificate"
        ]
    return []


def hub_notes(config: HubConfig, environ: Mapping[str, str]) -> list[str]:
    """Return what the operator of ``config`` should know, one sentence each; nothing here stops the hub."""
    notes = _cleartext_notes(config)
    if config.proxy.tls_mode == "off" and config.proxy.public_addr is None:
        notes.append(
            "proxy.public_addr is not set: the web port answers for this machine's own names only, which is seldom "
            "what the load balancer is called"
        )
    if config.ca_key_passphrase is None:
        notes.append("ca_key_passphrase is not set: the CA's private keys are stored unencrypted")
    notes += _apps_notes(config)
    return notes + _not_obeyed(config, NOT_OBEYED_YET) + _unknown_variables(environ)


_LISTENS_TO = (
    "; whoever is on the way reads passwords and session tokens: let only the load balancer reach it"
)


def _cleartext_notes(config: HubConfig) -> list[str]:
    """Each of these is off until somebody sets it, and is said at every start from then on (threat F3)."""
    notes = []
    web = config.proxy.listen_addr
    grpc = web if config.proxy.single_port and config.proxy.enabled else config.auth.listen_addr
    if config.auth.h2c:
        notes.append(
            f"auth.h2c: cleartext is accepted on {_both(web, grpc)}, and client certificates are never required"
            f"{_LISTENS_TO}"
        )
    elif config.auth.grpc_allow_http:
        notes.append(f"auth.grpc_allow_http: gRPC is accepted in cleartext on {grpc}{_LISTENS_TO}")
    if config.proxy.tls_mode == "off":
        notes.append(f"proxy.tls_mode off: HTTPS is served without TLS on {web}{_LISTENS_TO}")
    return notes


def _both(one: ListenAddress, other: ListenAddress) -> str:
    return f"{one}" if one == other else f"{one} and {other}"


def agent_notes(config: AgentConfig, environ: Mapping[str, str]) -> list[str]:
    """Return what the operator of ``config`` should know, one sentence each; nothing here stops the agent."""
    notes = []
    if config.join_token is not None and not environ.get("MEZITE_JOIN_TOKEN"):
        notes.append(
            "join_token stands in the file: it is used up at the first start and can then be removed"
        )
    if config.proxy_addr.startswith("https://") and config.tls_wrap:
        notes.append(
            "tls_wrap: has no effect with an https:// proxy_addr, which has an outer TLS session anyway"
        )
    return notes + _not_obeyed(config, AGENT_NOT_OBEYED_YET) + _unknown_variables(environ)


def _not_obeyed(config: HubConfig | AgentConfig, paths: Mapping[str, str]) -> list[str]:
    changed = [key.path for key in walk(type(config)) if _value(config, key.path) != key.default]
    return [
        f"{path}: not obeyed yet: {what}"
        for path, what in paths.items()
        if any(f"{name}.".startswith(f"{path}.") for name in changed)
    ]


def _value(config: Any, path: str) -> Any:
    return functools.reduce(getattr, path.split("."), config)


# Read by the programs for users, which have no configuration file.
_OTHER_VARIABLES = frozenset(
    {
        "MEZITE_PASSWORD",
        "MEZITE_AUTH_TOKEN",
        "MEZITE_AUTH_SERVER",
        "MEZITE_PROXY",
        "MEZITE_USER",
        "MEZITE_DEBUG",
    }
)


def _unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Name ``MEZITE_*`` variables that nothing reads.

    Not errors: an orchestrator invents such names itself for a service that is called mezite.
    """
    known = {name for schema in (HubConfig, AgentConfig) for key in walk(schema) for name in key.environment}
    unknown = sorted(
        name for name in environ if name.startswith("MEZITE_") and name not in known | _OTHER_VARIABLES
    )
    return [f"{name} in the environment is not a setting and does nothing" for name in unknown]
