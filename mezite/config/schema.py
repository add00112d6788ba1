# SPDX-License-Identifier: Apache-2.0
"""Every key of the hub's and the agent's configuration.

Values are typed and checked one by one when an instance comes from :mod:`mezite.config.loader`; constructing
these classes directly, as tests do, checks nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from types import MappingProxyType
from urllib.parse import quote

import attrs

from mezite.config.keys import key, section
from mezite.config.kinds import (
    BOOLEAN,
    CA_PIN,
    CIDRS,
    CLUSTER_NAME,
    DOMAIN,
    DURATION,
    GRPC_ADDRESS,
    HEADER_NAME,
    HOST_PORT,
    LABELS,
    LISTEN_ADDRESS,
    NODE_NAME,
    PATH,
    PROXY_ADDRESS,
    SECRET,
    TEXT,
    HostPort,
    ListenAddress,
    Network,
    choice,
    integer,
)
from mezite.config.webhooks import WebhooksConfig
from mezite.core.secret import Secret

__all__ = [
    "DEFAULT_DATA_DIR",
    "AgentConfig",
    "AuditConfig",
    "AuthConfig",
    "DatabaseConfig",
    "DiagConfig",
    "HubConfig",
    "KeypairConfig",
    "LogConfig",
    "PeerConfig",
    "ProxyConfig",
    "RecordingConfig",
    "S3Config",
    "SshConfig",
]

DEFAULT_DATA_DIR = "/var/lib/mezite"

# Loopback and the private ranges: where a load balancer of one's own stands when nothing else is said.
_PRIVATE_NETWORKS: tuple[Network, ...] = tuple(
    ip_network(text)
    for text in (
        "127.0.0.0/8",
        "::1/128",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "fd00::/8",
    )
)


@attrs.frozen(kw_only=True)
class LogConfig:
    """``log``."""

    level: str = key(choice("debug", "info", "warning", "error"), "info", "Least severity that is logged.")
    format: str = key(
        choice("auto", "text", "json"),
        "auto",
        "Form of the log on stderr; auto is text on a terminal, else json.",
    )


@attrs.frozen(kw_only=True)
class DatabaseConfig:
    """``database``."""

    driver: str | None = key(
        choice("sqlite", "postgres", "postgresql"),
        None,
        "Kind of database; postgres and postgresql are the same.",
        example="postgres",
        default_text="sqlite, or what database.url says",
    )
    url: Secret | None = key(
        SECRET,
        None,
        "A path for SQLite, or postgres://user:pass@host/db.",
        example="postgres://mezite:secret@db.internal/mezite",
        default_text="DATA_DIR/mezhub.db",
    )
    host: str | None = key(TEXT, None, "PostgreSQL host, instead of database.url.", example="db.internal")
    port: int = key(integer(1, 65_535, "the port"), 5432, "PostgreSQL port.")
    user: str | None = key(TEXT, None, "PostgreSQL user.", example="mezite")
    password: Secret | None = key(SECRET, None, "PostgreSQL password.", example="secret")
    name: str | None = key(TEXT, None, "PostgreSQL database name.", example="mezite")
    sslmode: str | None = key(
        choice("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
        None,
        "TLS towards PostgreSQL, as in libpq.",
        example="verify-full",
        default_text="prefer",
    )


@attrs.frozen(kw_only=True)
class SshConfig:
    """``ssh``."""

    enabled: bool = key(BOOLEAN, True, "Whether users reach nodes over SSH (proxy.ssh_listen_addr is bound).")


@attrs.frozen(kw_only=True)
class AuthConfig:
    """``auth``."""

    enabled: bool = key(BOOLEAN, True, "Whether this hub serves the gRPC API.")
    listen_addr: ListenAddress = key(LISTEN_ADDRESS, ListenAddress("0.0.0.0", 3025), "Where gRPC is served.")
    grpc_allow_http: bool = key(
        BOOLEAN,
        False,
        "Accept cleartext HTTP/2 (h2c) on the gRPC port beside TLS.",
        variables=("MEZITE_GRPC_ALLOW_HTTP",),
    )
    locking_mode: str = key(
        choice("strict", "best_effort"),
        "strict",
        "When locks could not be read from the database for 10 s: strict ends all sessions, since there may be a lock "
        "that this hub does not know; best_effort lets them go on.",
    )
    h2c: bool = key(
        BOOLEAN,
        False,
        "A load balancer holds the TLS: h2c on the gRPC port and cleartext on every port. Client "
        "certificates are then never required; calls still need a credential, and tunnels stay mutually "
        "authenticated.",
    )


@attrs.frozen(kw_only=True)
class KeypairConfig:
    """``cert_file`` and ``key_file``."""

    cert_file: str | None = key(PATH, None, "Certificate chain, PEM.", example="/etc/mezite/tls.crt")
    key_file: str | None = key(PATH, None, "Private key, PEM.", example="/etc/mezite/tls.key")


@attrs.frozen(kw_only=True)
class ProxyConfig:
    """``proxy``."""

    enabled: bool = key(BOOLEAN, True, "Whether this hub serves users and agents.")
    listen_addr: ListenAddress = key(
        LISTEN_ADDRESS, ListenAddress("0.0.0.0", 3080), "Where HTTPS (web, API, applications) is served."
    )
    ssh_listen_addr: ListenAddress = key(
        LISTEN_ADDRESS, ListenAddress("0.0.0.0", 3023), "Where users' SSH is served, raw or inside TLS."
    )
    tunnel_listen_addr: ListenAddress = key(
        LISTEN_ADDRESS, ListenAddress("0.0.0.0", 3024), "Where agents' tunnels arrive."
    )
    public_addr: HostPort | None = key(
        HOST_PORT, None, "host[:port] that clients use.", example="mezite.example.com:443"
    )
    tls_mode: str = key(
        choice("auto", "file", "off"),
        "auto",
        "auto: own certificate from the Host CA; file: proxy.keypair; off: a load balancer holds the TLS.",
    )
    keypair: KeypairConfig = section(KeypairConfig, "Certificate for tls_mode file.")
    single_port: bool = key(
        BOOLEAN,
        False,
        "Serve everything on proxy.listen_addr, told apart by ALPN and first bytes; the ports of SSH, tunnels and gRPC "
        "are then not opened.",
    )
    proxy_protocol: str = key(
        choice("off", "on", "require"),
        "off",
        "PROXY protocol v1 and v2 ahead of TLS; with on, trusted peers may omit the header.",
    )
    proxy_protocol_trusted_cidrs: tuple[Network, ...] = key(
        CIDRS,
        (),
        "Peers whose PROXY header is believed; others that send one are refused.",
        example="[10.0.0.0/8]",
    )
    trusted_ip_header: str | None = key(
        HEADER_NAME,
        None,
        "HTTP header with the client address.",
        example="X-Forwarded-For",
        variables=("MEZITE_TRUSTED_IP_HEADER",),
    )
    trusted_ip_header_cidrs: tuple[Network, ...] = key(
        CIDRS, _PRIVATE_NETWORKS, "Peers whose trusted_ip_header is believed."
    )
    max_connections_per_ip: int = key(
        integer(1, 1_000_000, "connections"), 512, "Connections from one client address at a time."
    )
    max_connections: int = key(
        integer(1, 1_000_000, "connections"),
        15_000,
        "Connections at a time; the web and gRPC ports get a third of them.",
    )
    apps_domain: str | None = key(
        DOMAIN,
        None,
        "Applications are served as NAME.DOMAIN; without it application access is inactive.",
        example="apps.example.com",
    )
    apps_keypair: KeypairConfig = section(KeypairConfig, "Certificate for *.apps_domain.")
    apps_oidc_connector: str | None = key(
        TEXT, None, "Connector that signs in application users.", example="okta"
    )


@attrs.frozen(kw_only=True)
class S3Config:
    """``recording.s3``."""

    endpoint: str | None = key(TEXT, None, "Service URL.", example="https://s3.eu-central-1.amazonaws.com")
    bucket: str | None = key(TEXT, None, "Bucket.", example="mezite-recordings")
    region: str | None = key(TEXT, None, "Region.", example="eu-central-1")
    prefix: str = key(TEXT, "", "Put before every object name.", example="hub1/")


@attrs.frozen(kw_only=True)
class RecordingConfig:
    """``recording``."""

    mode: str = key(
        choice("node", "node-sync", "proxy", "off"),
        "node",
        "Where sessions are recorded; a role may override it.",
    )
    storage: str = key(choice("file", "s3"), "file", "file is DATA_DIR/recordings.")
    retention: int | None = key(
        DURATION, None, "Recordings older than this are deleted.", example="90d", default_text="kept for ever"
    )
    s3: S3Config = section(S3Config, "For storage s3.")


@attrs.frozen(kw_only=True)
class AuditConfig:
    """``audit``."""

    retention: int | None = key(
        DURATION,
        None,
        "Audit events older than this are deleted.",
        example="365d",
        default_text="kept for ever",
    )


@attrs.frozen(kw_only=True)
class DiagConfig:
    """``diag``."""

    listen_addr: ListenAddress = key(
        LISTEN_ADDRESS, ListenAddress("127.0.0.1", 3081), "Where /healthz, /readyz and /metrics are served."
    )


@attrs.frozen(kw_only=True)
class PeerConfig:
    """``hub``."""

    peer_listen_addr: ListenAddress = key(
        LISTEN_ADDRESS, ListenAddress("0.0.0.0", 3026), "Where other hubs of the cluster connect."
    )
    peer_advertise_addr: HostPort | None = key(
        HOST_PORT, None, "Address under which other hubs reach this one.", example="hub-1.internal:3026"
    )


@attrs.frozen(kw_only=True)
class HubConfig:
    """Configuration of ``mezhub``."""

    cluster_name: str = key(CLUSTER_NAME, "mezite", "Name of the cluster; part of every certificate.")
    data_dir: str = key(PATH, DEFAULT_DATA_DIR, "Directory for the database, keys and recordings.")
    log: LogConfig = section(LogConfig, "Logging.")
    database: DatabaseConfig = section(DatabaseConfig, "Where the state is kept.")
    ca_key_passphrase: Secret | None = key(
        SECRET, None, "Encrypts the private keys of the cluster's CAs at rest.", example="long random text"
    )
    ssh: SshConfig = section(SshConfig, "Users' SSH.")
    auth: AuthConfig = section(AuthConfig, "The gRPC API.")
    proxy: ProxyConfig = section(ProxyConfig, "What users and agents connect to.")
    recording: RecordingConfig = section(RecordingConfig, "Session recording.")
    audit: AuditConfig = section(AuditConfig, "The audit log.")
    webhooks: WebhooksConfig = section(WebhooksConfig, "Notifications about access requests.")
    diag: DiagConfig = section(DiagConfig, "Diagnostics.")
    hub: PeerConfig = section(PeerConfig, "Several hubs sharing one PostgreSQL.")

    def database_url(self) -> Secret:
        """Return the database as one URL: ``sqlite:///PATH`` or ``postgresql://…``."""
        database = self.database
        if database.url is not None:
            text = database.url.reveal()
            if text.startswith(("postgres://", "postgresql://")):
                return Secret("postgresql://" + text.partition("://")[2])
            return Secret(text if text.startswith("sqlite:") else f"sqlite:///{text}")
        if database.driver in {"postgres", "postgresql"}:
            return Secret(_postgres_url(database))
        return Secret(f"sqlite:///{Path(self.data_dir) / 'mezhub.db'}")


def _postgres_url(database: DatabaseConfig) -> str:
    user = quote(database.user or "", safe="")
    if database.password is not None:
        user += ":" + quote(database.password.reveal(), safe="")
    host = f"[{database.host}]" if ":" in (database.host or "") else database.host or "localhost"
    address = f"{user}@{host}:{database.port}" if user else f"{host}:{database.port}"
    options = f"?sslmode={database.sslmode}" if database.sslmode else ""
    return f"postgresql://{address}/{quote(database.name or '', safe='')}{options}"


@attrs.frozen(kw_only=True)
class AgentConfig:
    """Configuration of ``mezd``."""

    proxy_addr: str = key(
        PROXY_ADDRESS,
        "",
        "The hub's tunnel address, default port 3024; https://host selects the WebSocket transport.",
        example="mezite.example.com:3024",
        default_text="required",
    )
    auth_addr: str = key(
        GRPC_ADDRESS,
        "",
        "The hub's gRPC address, default port 3025.",
        example="mezite.example.com:3025",
        default_text="host of proxy_addr, port 3025",
    )
    tls_wrap: bool = key(
        BOOLEAN, False, "Wrap the tunnel in an outer TLS session for a load balancer to end."
    )
    join_token: Secret | None = key(
        SECRET, None, "One-time token, needed only for the first start.", example="mzt_..."
    )
    join_token_file: str | None = key(
        PATH, None, "File with the token, instead of join_token.", example="/run/secrets/join-token"
    )
    ca_pin: str | None = key(CA_PIN, None, "Overrides the pin inside the token.", example="sha256:0123...")
    node_name: str | None = key(
        NODE_NAME, None, "Name of this node.", example="web-server-01", default_text="the host name"
    )
    labels: Mapping[str, str] = key(
        LABELS,
        MappingProxyType({}),
        "Labels of this node; in the environment key=value,key=value.",
        example="{env: prod, team: platform}",
        variables=("MEZITE_NODE_LABELS",),
    )
    data_dir: str = key(PATH, DEFAULT_DATA_DIR, "Directory for identity (agent/) and recordings.")
    outer_ca_file: str | None = key(
        PATH,
        None,
        "Extra roots to verify an outer TLS session and a TLS-terminating gRPC front.",
        example="/etc/ssl/certs/lb.pem",
        default_text="the system's",
    )
    log: LogConfig = section(LogConfig, "Logging.")
