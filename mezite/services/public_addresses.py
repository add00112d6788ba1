# SPDX-License-Identifier: Apache-2.0
"""The addresses that clients are told: the configured public one, else what was bound (never a Host header, D7)."""

from __future__ import annotations

from collections.abc import Mapping

from mezite.core.secret import Secret
from mezite.net.addresses import join_host_port, split_host_port

__all__ = ["PublicAddresses"]

_ANY = frozenset({"", "0.0.0.0", "::"})  # noqa: S104 - compared with, not bound


class PublicAddresses:
    """Where this hub is reached. Filled in when the listeners are bound."""

    def __init__(self, public_addr: str | None) -> None:
        """`public_addr` is `host[:port]`. :raises ValueError: it is not."""
        self._public = None if public_addr is None else split_host_port(public_addr, 443)
        self._bound: dict[str, str] = {}
        self._web_url = self._find_web_url()

    def bound(self, addresses: Mapping[str, str]) -> None:
        """Take over the listeners' addresses: `web`, `ssh`, `tunnel`, `auth`, each `host:port`.

        Those that are the same as `web` are on a single port.
        """
        self._bound = dict(addresses)
        self._web_url = self._find_web_url()

    def listening(self) -> dict[str, str]:
        """Return where this hub itself listens, by listener."""
        return dict(self._bound)

    def advertised(self) -> dict[str, str]:
        """Return what clients should dial, by listener: the public host with each listener's port.

        A listener that is bound to every interface goes by the public host; one that is bound to one address goes by
        that, unless a public address is configured.
        """
        advertised = {}
        for name, address in self._bound.items():
            host, _, port = address.rpartition(":")
            host = host.strip("[]")
            if self._public is not None:
                host = self._public[0]
            elif host in _ANY:
                host = "localhost"
            advertised[name] = join_host_port(host, int(port))
        if self._public is not None:
            web = self._bound.get("web")
            shared = (name for name, address in self._bound.items() if address == web)
            advertised |= dict.fromkeys(shared, join_host_port(*self._public))
        return advertised

    def web_url(self) -> str:
        """Return `https://host:port` without a trailing slash."""
        return self._web_url

    def _find_web_url(self) -> str:
        return f"https://{self.advertised().get('web', 'localhost:3080').removesuffix(':443')}"

    def invite_url(self, token: Secret) -> str:
        """Return the page where an invite is accepted.

        The token stands in the fragment, which no browser sends: not to this hub's logs, not in a Referer (D23).
        """
        return f"{self.web_url()}/invite#{token.reveal()}"
