# SPDX-License-Identifier: Apache-2.0
"""Who this hub is: an id that survives restarts, and keys whose certificates are issued anew at each start."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import NoReturn

import attrs
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mezite.config.schema import HubConfig
from mezite.core import alpn
from mezite.core.certificates.keys import PrivateKey, generate_ed25519, generate_p256, private_key_pem
from mezite.core.errors import ExplainedError
from mezite.core.names import InvalidNameError, check_agent_id
from mezite.hub.apps_certificate import check_apps_certificate, configured_apps_keypair
from mezite.hub.web_certificate import Keypair, configured_keypair, keypair_notes
from mezite.net.tls_contexts import load_identity, mutual_server_context, server_context
from mezite.services.authorities.certificate_authority import CertificateAuthorities, HubCertificates
from mezite.services.authorities.keys import HUB_LIFETIME_S
from mezite.services.sources import Sources
from mezite.ssh.algorithms import HostIdentity

__all__ = [
    "HubIdDamagedError",
    "HubKeys",
    "HubTls",
    "load_hub_id",
    "renew_certificates",
    "served_names",
    "show_configured_keypair",
]

_log = logging.getLogger("mezite.hub")

RENEW_MS = 16 * 3600 * 1000
"""Renewed when less than this is left: two thirds of a certificate's life."""

CLOCK_STEP_MS = 5 * 60 * 1000
"""A certificate with more than its whole life before it was issued by a clock that was ahead: to peers it may not be
valid yet. Less than the five minutes by which certificates are backdated does no harm."""

LOOK_SECONDS = 60
"""How often that is looked at, on the wall clock: a machine that sleeps, or is told the time, loses no more (P28)."""


class HubIdDamagedError(ExplainedError):
    """The file with the hub's id is not one: `what`, `why`, and a `hint` what to do."""

    def __init__(self, path: Path, why: str) -> None:
        hint = "restore it from a backup, or delete it: the hub then counts as a new one of its cluster"
        super().__init__(f"{path} is damaged", why, hint)


def load_hub_id(data_dir: Path, sources: Sources) -> str:
    """Return the id in `DATA_DIR/hub_id`, making it at the first start. Audit chains and leases hang on it.

    :raises HubIdDamagedError: the file holds something else.
    :raises OSError: it cannot be read or written.
    """
    path = data_dir / "hub_id"
    try:
        return check_agent_id(path.read_text(errors="replace").strip())
    except FileNotFoundError:
        pass
    except InvalidNameError as error:
        raise HubIdDamagedError(path, str(error)) from None
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    hub_id = sources.new_id()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{hub_id}\n")
        file.flush()
        os.fsync(file.fileno())
    return hub_id


def served_names(config: HubConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the DNS names and IP addresses that this hub's certificates carry.

    The public address, this machine's own names, and what the demo and local clients use.
    """
    candidates = ["localhost", "127.0.0.1", "::1", socket.gethostname().lower()]
    if config.proxy.public_addr is not None:
        candidates.insert(0, config.proxy.public_addr.host.lower())
    for listen in (config.proxy.listen_addr, config.proxy.ssh_listen_addr, config.auth.listen_addr):
        if listen.host not in {"", "0.0.0.0", "::"}:  # noqa: S104 - compared with, not bound
            candidates.append(listen.host.lower())
    names: list[str] = []
    addresses: list[str] = []
    for candidate in dict.fromkeys(candidates):
        (addresses if _is_address(candidate) else names).append(candidate)
    wildcards = (
        ["*.localhost"]
        if config.proxy.apps_domain is None
        else [f"*.{config.proxy.apps_domain}", "*.localhost"]
    )
    return (*names, *dict.fromkeys(wildcards)), tuple(addresses)


@attrs.frozen
class HubKeys:
    """The private keys of this process; they never touch the disk."""

    tls: PrivateKey = attrs.field(repr=False, factory=generate_p256)
    ssh: Ed25519PrivateKey = attrs.field(repr=False, factory=generate_ed25519)


class HubTls:
    """The TLS contexts of all listeners, and the certificates inside them.

    Whoever serves asks for a context at each connection: `follow_keys` makes others.
    """

    def __init__(
        self,
        *,
        authorities: CertificateAuthorities,
        hub_id: str,
        names: tuple[str, ...],
        addresses: tuple[str, ...],
        apps_domain: str | None = None,
    ) -> None:
        self._authorities = authorities
        self._hub_id = hub_id
        self._names = names
        self._addresses = addresses
        self._apps_domain = apps_domain
        self._apps: ssl.SSLContext | None = None
        self.apps_names = names
        """The names of the certificate that applications are shown, lower case."""
        self.keys = HubKeys()
        self.certificates = self._issue()
        self.web_names: tuple[str, ...] = ()
        """The names in a certificate that was configured, besides those that this hub's own carries."""
        self._own_web = server_context(
            self.certificates.tls_certificate_pem, private_key_pem(self.keys.tls), (alpn.HTTP1,)
        )
        self._own_web.sni_callback = self._choose
        self.web = self._own_web
        """For browsers and outer TLS sessions; another object after each `show`."""
        self._trust()

    def _trust(self) -> None:
        """Make the contexts that hold others against CAs; a context never lets go of one that it has."""
        pem, key = self.certificates.tls_certificate_pem, private_key_pem(self.keys.tls)
        host_ca = _encoded(self._authorities.host_tls_ca_pem)
        user_ca = _encoded(self._authorities.user_tls_ca_pem)
        self.grpc = server_context(pem, key, (alpn.GRPC, alpn.HTTP2), client_ca_pems=[*host_ca, *user_ca])
        self.tunnel = mutual_server_context(pem, key, host_ca, (alpn.AGENT_TUNNEL,))
        self.connect = mutual_server_context(pem, key, user_ca, (alpn.USER_TUNNEL,))

    def follow_keys(self) -> None:
        """Show certificates of the CAs that sign now, and trust those that are trusted now.

        From the next handshake on: connections that exist keep what they have (threat F5).
        """
        self.certificates = self._issue()
        self._show(self._own_web)
        self._trust()

    def ssh_identity(self) -> HostIdentity:
        """Return the host key and certificate that port 3023 shows."""
        return HostIdentity.from_line(self.keys.ssh, self.certificates.ssh_host_certificate)

    def is_due(self, now: int) -> bool:
        """Whether to renew at `now`, in milliseconds since 1970."""
        left = self.certificates.expires_at - now
        return not RENEW_MS <= left <= HUB_LIFETIME_S * 1000 + CLOCK_STEP_MS

    def renew(self) -> None:
        """Issue fresh certificates; connections that exist keep theirs, new handshakes show the new ones."""
        self.certificates = self._issue()
        for context in (self._own_web, self.grpc, self.tunnel, self.connect):
            self._show(context)

    def show(self, web_keypair: Keypair | None, apps_keypair: Keypair | None = None) -> None:
        """Show browsers this pair, or this hub's own certificate, from the next handshake on; applications another one.

        Connections that exist keep what they have.
        """
        # Fresh contexts: one that has shown an RSA certificate keeps it beside a later one with another kind of key.
        web = self._own_web if web_keypair is None else web_keypair.context((alpn.HTTP1,))
        web.sni_callback = self._choose
        self._apps = None if apps_keypair is None else apps_keypair.context((alpn.HTTP1,))
        self.web = web
        self.web_names = () if web_keypair is None else web_keypair.names
        pair = apps_keypair or web_keypair
        self.apps_names = self._names if pair is None else tuple(name.lower() for name in pair.names)

    def _choose(self, handshake: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> None:
        """Show who asks for an application the certificate for those, if there is one.

        What is shown decides about nothing else: whom a request is for says its Host field alone.
        """
        if self._apps is not None and name is not None and self._is_application(name.lower()):
            handshake.context = self._apps

    def _is_application(self, name: str) -> bool:
        own = name in self._names or name in (each.lower() for each in self.web_names)
        return not own and name.endswith(f".{self._apps_domain}")

    def _issue(self) -> HubCertificates:
        return self._authorities.issue_hub(
            hub_id=self._hub_id,
            tls_key=self.keys.tls,
            ssh_key=self.keys.ssh,
            names=self._names,
            addresses=self._addresses,
        )

    def _show(self, context: ssl.SSLContext) -> None:
        load_identity(context, self.certificates.tls_certificate_pem, private_key_pem(self.keys.tls))


def show_configured_keypair(tls: HubTls, config: HubConfig, now: int) -> None:
    """Read what `proxy.keypair` and `proxy.apps_keypair` name, and show it; this hub's own certificate otherwise.

    :raises KeypairError: the files cannot be used; what was shown before stays.
    """
    keypair, apps_keypair = configured_keypair(config, now), configured_apps_keypair(config, now)
    notes = check_apps_certificate(config, keypair, apps_keypair)
    tls.show(keypair, apps_keypair)
    if keypair is not None:
        notes += keypair_notes(config, keypair, now)
    for note in notes:
        _log.warning("certificate", extra={"note": note})


async def renew_certificates(tls: HubTls, sources: Sources) -> NoReturn:
    """Renew in time, for ever. A failure costs a minute: there are sixteen hours to try again in (threat P14)."""
    while True:
        await trio.sleep(LOOK_SECONDS)
        if not tls.is_due(sources.now()):
            continue
        try:
            tls.renew()
        except OSError as error:
            _log.error("cannot renew the hub's own certificates", extra={"reason": str(error)})
        else:
            _log.info("renewed the hub's own certificates")


def _encoded(pems: Iterable[str]) -> list[bytes]:
    return [pem.encode() for pem in pems]


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
