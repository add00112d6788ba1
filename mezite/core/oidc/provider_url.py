# SPDX-License-Identifier: Apache-2.0
"""URLs of a provider: a closed grammar, so that no two programs can read one of them differently (threat D2)."""

import ipaddress
import re

import attrs

__all__ = ["InvalidUrlError", "ProviderUrl", "is_loopback_name", "parse_provider_url"]

MAX_URL = 2048
"""Characters; what browsers and balancers take without question."""

URL = re.compile(
    r"(https?)://(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)(?::([0-9]{1,5}))?"
    r"(/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*)?(\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]*)?",
    re.ASCII,
)
"""No user name, no fragment, no backslash, no space, nothing beyond ASCII."""

PORTS = {"http": 80, "https": 443}


class InvalidUrlError(ValueError):
    """Not a URL that a hub calls; the message says why."""


@attrs.frozen(kw_only=True)
class ProviderUrl:
    """A URL taken apart."""

    text: str
    scheme: str
    host: str
    """Lower case, without the brackets of IPv6."""
    port: int
    target: str
    """Path and query, as an HTTP request line has it."""

    @property
    def authority(self) -> str:
        """``host[:port]`` as the Host field has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORTS[self.scheme] else f"{host}:{self.port}"


def parse_provider_url(text: str, *, plain_on_loopback: bool = False) -> ProviderUrl:
    """The parts of ``text``. Raises InvalidUrlError: another scheme than https, or not a plain URL.

    With ``plain_on_loopback`` http is taken too, to this very machine only.
    """
    match = URL.fullmatch(text) if len(text) <= MAX_URL else None
    if match is None:
        raise InvalidUrlError("not a URL such as https://login.example.com/path")
    scheme, host, port_text, path, query = match.groups()
    host = host.strip("[]").lower()
    port = int(port_text) if port_text else PORTS[scheme]
    if not 0 < port < 65536:
        raise InvalidUrlError("its port is not a number from 1 to 65535")
    if ":" in host:
        check_ipv6(host)
    if scheme == "http" and not (plain_on_loopback and is_loopback_name(host)):
        raise InvalidUrlError("it does not begin with https://")
    return ProviderUrl(text=text, scheme=scheme, host=host, port=port, target=(path or "/") + (query or ""))


def check_ipv6(host: str) -> None:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        raise InvalidUrlError("its host is not an IPv6 address") from None


def is_loopback_name(host: str) -> bool:
    """Whether ``host`` is this machine by its very spelling; names that resolve to it are not."""
    return host in ("localhost", "127.0.0.1", "::1")
