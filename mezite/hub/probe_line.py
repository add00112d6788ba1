# SPDX-License-Identifier: Apache-2.0
"""A hub's connections to one of its own public addresses, and what can be told from them."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import trio

from mezite.core.diagnosis import StepFailedError
from mezite.core.wrong_doors import Door, grpc_balancer_hint
from mezite.net.addresses import connection_addresses
from mezite.net.diagnosis_walk import nothing_to_do
from mezite.net.hop import Hop, describe_session
from mezite.net.tls_contexts import unverified_client_context
from mezite.net.tls_stream import TlsError, TlsStream
from mezite.services.self_probes import SelfProbes, Sighting, probe_protocol

__all__ = ["Line"]


@attrs.define(eq=False, kw_only=True)
class Line:
    """Opens connections to one port. TLS is looked at, not verified: the question is who ends it."""

    hop: Hop
    protocols: tuple[str, ...]
    """What is offered by ALPN."""
    probes: SelfProbes
    hello: str
    """The secret in every ClientHello."""
    inside: str
    """The secret in what is said behind TLS."""
    is_own_certificate: Callable[[bytes], bool]
    inside_the_hub: bool = True
    """Whether this is the process whose ports meet the probes."""
    local_address: str = ""
    """Where the last connection came from."""
    ended_by_hub: bool | None = None
    """Whether it is the hub that ends TLS; None before that is known."""
    peer_address: str = ""
    """The TCP peer of the last sighting, where it is known."""

    @property
    def offered(self) -> tuple[str, ...]:
        """The protocols, and the secret among them."""
        return (*self.protocols, probe_protocol(self.hello))

    async def connect(self) -> str:
        """A TCP connection."""
        detail = await self.hop.connect()
        assert self.hop.transport is not None
        self.local_address = connection_addresses(self.hop.transport)[1]
        return detail

    async def secure(self) -> str:
        """TLS on the connection, and who ends it."""
        stream = await self._handshake()
        certificate = stream.peer_certificate()
        # A ClientHello that arrives at the hub is proof; a certificate of ours is, where nobody looks at ClientHellos.
        arrived = self.probes.seen(self.hello) is not None
        self.ended_by_hub = arrived or (certificate is not None and self.is_own_certificate(certificate))
        who = "the hub" if self.ended_by_hub else "a load balancer"
        return f"ended by {who}: {describe_session(stream)}"

    async def open(self) -> trio.abc.Stream:
        """Another connection as far as the first one came, for a further probe; the caller closes it."""
        await self.hop.aclose()
        await self.connect()
        await self._handshake()
        stream, self.hop.transport = self.hop.transport, None
        assert stream is not None
        return stream

    def take(self) -> trio.abc.Stream:
        """Return the connection as it is now, for the caller to use up."""
        stream, self.hop.transport = self.hop.transport, None
        assert stream is not None, "connect() comes first"
        return stream

    async def _handshake(self) -> TlsStream:
        assert self.hop.transport is not None, "connect() comes first"
        host, _port = self.hop.host_port
        stream = TlsStream(
            self.hop.transport,
            unverified_client_context(self.offered),
            server_side=False,
            server_hostname=host,
        )
        self.hop.transport = stream
        try:
            await stream.do_handshake()
        except trio.BrokenResourceError as error:
            reason = error.reason if isinstance(error, TlsError) else "the connection was cut"
            hint = (
                "let the load balancer end TLS there, or pass the connection on to a hub whose proxy.tls_mode is auto "
                "or file"
            )
            if self.hop.door is Door.GRPC:
                hint = grpc_balancer_hint("the balancer's port")
            raise StepFailedError(f"no TLS session comes about: {reason}", hint) from error
        return stream

    async def judge_address(self) -> str:
        """Whether the hub knows where the probe came from."""
        await trio.lowlevel.checkpoint()
        if not self.inside_the_hub:
            raise nothing_to_do("only the hub that runs can tell: ask it with `mezctl doctor --lb`")
        sighting = self.probes.seen(self.inside) or self.probes.seen(self.hello)
        if sighting is None:
            raise StepFailedError(
                "the probe did not arrive at this hub",
                f"check that {self.hop.address} leads to this hub, and not to another one of the cluster",
            )
        self.peer_address = sighting.peer_address
        return self._judge(sighting)

    def _judge(self, sighting: Sighting) -> str:
        seen = sighting.client_address
        host, _, port = seen.rpartition(":")
        if seen == self.local_address:
            if sighting.peer_address == self.local_address:
                return f"the hub sees {seen}, the real one: nothing is in between"
            return f"the hub sees {seen}, the real one"
        if port == "0":
            return f"the hub sees {host}, from the trusted header"
        raise StepFailedError(
            f"the hub sees {seen} instead of {self.local_address}: the balancer's own address, or that of a NAT",
            self._address_hint(),
        )

    def _address_hint(self) -> str:
        proxy = (
            "let the load balancer send a PROXY header (send-proxy-v2), and set proxy.proxy_protocol: on with its "
            "address in proxy.proxy_protocol_trusted_cidrs"
        )
        if self.ended_by_hub or self.hop.door in {Door.SSH, Door.TUNNEL}:
            return proxy
        return f"for HTTP, set MEZITE_TRUSTED_IP_HEADER=X-Forwarded-For on the hub; else {proxy}"
