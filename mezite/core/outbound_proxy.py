# SPDX-License-Identifier: Apache-2.0
"""Which HTTP proxy a connection to the outside goes through: `HTTPS_PROXY` and `NO_PROXY`, read strictly."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import unquote_to_bytes

import attrs

from mezite.core.errors import ExplainedError

__all__ = ["HttpProxy", "InvalidProxyError", "ProxySettings"]

DEFAULT_PORT: Final = 80
"""Of an `http://` URL without a port, as curl and Go read it."""

PROXY_URL = re.compile(
    r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://)?"
    r"(?:(?P<user>[!-~]*)@)?"
    r"(?P<host>[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?/?"
)
EXEMPTION = re.compile(
    r"(?P<host>\*?\.?[A-Za-z0-9_-][A-Za-z0-9._-]{0,252}|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?"
)

OWN_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
"""Never through a proxy, which would connect to itself: `mezctl` goes to `localhost:3025` when told nothing."""


class InvalidProxyError(ExplainedError, ValueError):
    """A variable cannot be used: ``what``, ``why``, and a ``hint`` what to do. Never holds a password."""


@attrs.frozen(kw_only=True)
class HttpProxy:
    """A proxy that is asked with CONNECT."""

    host: str
    port: int
    credentials: bytes | None = attrs.field(default=None, repr=False)
    """``user:password`` as it goes, in Base64, into `Proxy-Authorization`."""

    @property
    def address(self) -> str:
        """``host:port``, IPv6 in brackets; good for messages, since it has no password."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def authorization(self) -> str | None:
        """The value of `Proxy-Authorization` (RFC 7617), or None."""
        if self.credentials is None:
            return None
        return "Basic " + base64.b64encode(self.credentials).decode("ascii")


@attrs.frozen
class _Exemption:
    """One entry of `NO_PROXY`."""

    domain: str = ""
    """Lower case, without leading dot; matches itself and every name below it. Empty when `network` is there."""
    network: IPv4Network | IPv6Network | None = None
    only_below: bool = False
    """Written with a leading dot: names below the domain, not the domain itself."""
    port: int | None = None

    def matches(self, host: str, port: int) -> bool:
        if self.port is not None and self.port != port:
            return False
        if self.network is not None:
            address = _address(host)
            return address is not None and address in self.network
        return host.endswith("." + self.domain) or (host == self.domain and not self.only_below)


@attrs.frozen
class ProxySettings:
    """What the environment says about proxies; the default is to use none."""

    proxy: HttpProxy | None = None
    exemptions: tuple[_Exemption, ...] = ()
    never: bool = False
    """`NO_PROXY` is `*`."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> ProxySettings:
        """Read `HTTPS_PROXY` and `NO_PROXY`; the same names in lower case count when those are not set.

        :raises InvalidProxyError: a value cannot be read. It is not ignored: whoever sets a proxy may rely on it.
        """
        name, url = _first(environ, "HTTPS_PROXY", "https_proxy")
        if not url:
            return cls()
        proxy = _proxy(name, url)
        name, listed = _first(environ, "NO_PROXY", "no_proxy")
        entries = [entry for entry in re.split(r"[,\s]+", listed) if entry]
        if "*" in entries:
            return cls(proxy, never=True)
        return cls(proxy, tuple(_exemption(name, entry) for entry in entries))

    def proxy_for(self, host: str, port: int) -> HttpProxy | None:
        """Return the proxy for a connection to ``host`` (a name, or an address without brackets), None for none."""
        if self.proxy is None or self.never:
            return None
        host = host.lower().rstrip(".")
        if host in OWN_NAMES or host.endswith(".localhost"):
            return None
        if any(exemption.matches(host, port) for exemption in self.exemptions):
            return None
        return self.proxy


def _first(environ: Mapping[str, str], *names: str) -> tuple[str, str]:
    for name in names:
        if value := environ.get(name, "").strip():
            return name, value
    return names[0], ""


def _proxy(name: str, url: str) -> HttpProxy:
    # The value may hold a password: no part of it but the scheme goes into a message.
    matched = PROXY_URL.fullmatch(url)
    if matched is None:
        raise InvalidProxyError(f"cannot use {name}", "it is not a URL of a proxy", f"write {_EXAMPLE}")
    scheme = (matched["scheme"] or "http").lower()
    if scheme != "http":
        raise InvalidProxyError(
            f"cannot use {name}",
            f"{scheme}:// proxies are not spoken here, only http://",
            f"write {_EXAMPLE}",
        )
    port = _port(matched["port"])
    if port == 0:
        raise InvalidProxyError(f"cannot use {name}", "its port is not from 1 to 65535", f"write {_EXAMPLE}")
    host = matched["host"].strip("[]")
    if matched["host"].startswith("[") and _address(host) is None:
        raise InvalidProxyError(f"cannot use {name}", "it holds no valid IPv6 address", f"write {_EXAMPLE}")
    return HttpProxy(host=host, port=port or DEFAULT_PORT, credentials=_credentials(name, matched["user"]))


_EXAMPLE: Final = "http://[USER:PASSWORD@]HOST:PORT, with %40 for an @ in the password"


def _credentials(name: str, user: str | None) -> bytes | None:
    if not user:
        return None
    account, _, password = user.partition(":")
    credentials = unquote_to_bytes(account) + b":" + unquote_to_bytes(password)
    # RFC 7617 section 2: no control characters, and no colon in the user.
    if b":" in unquote_to_bytes(account) or any(byte < 0x20 or byte == 0x7F for byte in credentials):
        raise InvalidProxyError(
            f"cannot use {name}", "user or password hold what Basic cannot carry", f"write {_EXAMPLE}"
        )
    return credentials


def _exemption(name: str, entry: str) -> _Exemption:
    network = _network(entry)
    if network is not None:
        return _Exemption(network=network)
    matched = EXEMPTION.fullmatch(entry)
    port = None if matched is None else _port(matched["port"])
    host = "" if matched is None else matched["host"].lower().rstrip(".")
    network = _network(host.strip("[]"))
    if matched is None or port == 0 or (host.startswith("[") and network is None):
        raise InvalidProxyError(
            f"cannot use {name}",
            f"{entry[:80]!r} is no host, domain, address or CIDR",
            "write for example .internal.example.com,10.0.0.0/8,hub.example.com:3025",
        )
    if network is not None:
        return _Exemption(network=network, port=port)
    domain = host.removeprefix("*").removeprefix(".")
    return _Exemption(domain=domain, only_below=domain != host, port=port)


def _port(text: str | None) -> int | None:
    """None when there is none, 0 for one that cannot be; the caller has seen that it is made of digits."""
    if text is None:
        return None
    return int(text) if int(text) <= 65_535 else 0


def _network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
