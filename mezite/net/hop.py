# SPDX-License-Identifier: Apache-2.0
"""One port on the way, step by step: name, connection, TLS. For doctors, who want to know which step fails."""

from __future__ import annotations

import socket
import ssl
from datetime import UTC
from ipaddress import ip_address

import attrs
import trio
from cryptography import x509
from cryptography.x509.oid import NameOID

from mezite.core.diagnosis import StepFailedError
from mezite.core.wrong_doors import Advice, Door, client_advice, grpc_balancer_hint, is_certain

from .addresses import connection_addresses, join_host_port, split_host_port
from .diagnosis_walk import nothing_to_do
from .dialer import DialError
from .listener_probe import what_listens
from .outbound import Outbound
from .tls_stream import TlsError, TlsStream

__all__ = ["Hop", "describe_session", "other_door", "wrong_door"]

SHOWN_ADDRESSES = 4
"""Of a name with more, the first ones say enough."""


@attrs.define(eq=False)
class Hop:
    """The way to one port. Each step uses what the one before it has left here."""

    address: str
    """``host[:port]``"""
    door: Door
    """What should be there."""
    setting: str
    """Where the address comes from, for the remedy."""
    outbound: Outbound = attrs.field(factory=Outbound)
    transport: trio.abc.Stream | None = None
    """The connection, once there is one."""

    @property
    def host_port(self) -> tuple[str, int]:
        """Raises :exc:`StepFailedError` when the address cannot be read."""
        try:
            return split_host_port(self.address, self.door.port)
        except ValueError as error:
            raise StepFailedError(str(error), f"write host:port into {self.setting}") from None

    async def look_up(self) -> str:
        """The name's addresses."""
        host, port = self.host_port
        proxy = self.outbound.proxies.proxy_for(host, port)
        if proxy is not None:
            raise nothing_to_do(f"the proxy {proxy.address} looks it up")
        if _is_ip_address(host):
            raise nothing_to_do(f"{host} is an address already")
        try:
            found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            why = getattr(error, "strerror", None) or "not a valid name"
            raise StepFailedError(
                f"cannot look up {host}: {why}",
                f"check the name in {self.setting} and this machine's DNS settings",
            ) from error
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        more = "" if len(addresses) <= SHOWN_ADDRESSES else f" and {len(addresses) - SHOWN_ADDRESSES} more"
        return ", ".join(addresses[:SHOWN_ADDRESSES]) + more

    async def connect(self) -> str:
        """A TCP connection, kept in ``transport``."""
        host, port = self.host_port
        try:
            self.transport = stream = await self.outbound.dial(self.address, self.door.port)
        except DialError as error:
            must = f"{self.setting} must point to the {self.door.title} ({self.door.port}); {error.hint}"
            hint = grpc_balancer_hint(self.setting) if self.door is Door.GRPC else must
            raise StepFailedError(f"{join_host_port(host, port)}: {error.why}", hint) from error
        proxy = self.outbound.proxies.proxy_for(host, port)
        return connection_addresses(stream)[0] if proxy is None else f"through the proxy {proxy.address}"

    async def secure(
        self, context: ssl.SSLContext, *, server_hostname: str | None = None, hint: str = ""
    ) -> TlsStream:
        """TLS over the connection, kept in ``transport`` in its place.

        ``hint`` says what to do about a certificate that is not trusted.
        """
        assert self.transport is not None, "connect() comes first"
        stream = TlsStream(self.transport, context, server_side=False, server_hostname=server_hostname)
        self.transport = stream
        try:
            await stream.do_handshake()
        except TlsError as error:
            if hint and "verify failed" in error.reason:
                raise StepFailedError(error.reason, hint) from error
            raise await wrong_door(self, error.reason) from error
        except trio.BrokenResourceError as error:
            raise await wrong_door(self, "the connection was cut") from error
        return stream

    async def aclose(self) -> None:
        """Close what was opened."""
        if self.transport is not None:
            await trio.aclose_forcefully(self.transport)
            self.transport = None


async def wrong_door(hop: Hop, reason: str) -> StepFailedError:
    """Return what went wrong, having found out what listens there."""
    try:
        answer = await what_listens(hop.address, hop.door.port, outbound=hop.outbound)
    except DialError as error:
        return StepFailedError(f"{reason}, and then: {error.why}", error.hint)
    advice = client_advice(hop.door, answer, setting=hop.setting, port=hop.host_port[1])
    return StepFailedError(f"{advice.why} ({reason})", advice.hint)


async def other_door(hop: Hop) -> Advice | None:
    """Return what to do when one of a hub's other ports listens there, or something that is certainly no hub's."""
    try:
        answer = await what_listens(hop.address, hop.door.port, outbound=hop.outbound)
    except DialError:
        return None
    if is_certain(hop.door, answer):
        return client_advice(hop.door, answer, setting=hop.setting, port=hop.host_port[1])
    return None


def describe_session(stream: TlsStream) -> str:
    """A TLS session in a few words: version, protocol, and whose certificate until when."""
    words = [stream.version or "TLS", stream.alpn or "no protocol named"]
    der = stream.peer_certificate()
    if der is not None:
        certificate = x509.load_der_x509_certificate(der)
        words.append(f"certificate of {_subject(certificate)} by {_name(certificate.issuer)}")
        words.append(f"until {certificate.not_valid_after_utc.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}")
    return ", ".join(words)


def _subject(certificate: x509.Certificate) -> str:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return _name(certificate.subject)
    dns = names.get_values_for_type(x509.DNSName)
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return next(iter([*dns, *uris]), _name(certificate.subject))


def _name(name: x509.Name) -> str:
    common = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(common[0].value) if common else name.rfc4514_string() or "nobody"


def _is_ip_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
