# SPDX-License-Identifier: Apache-2.0
"""TLS from the hub to an application, through the agent, which sees ciphertext only."""

from __future__ import annotations

import ssl

import attrs
import trio

from .tls_contexts import client_context, unverified_client_context
from .tls_stream import TlsError, TlsStream

__all__ = ["TlsTrust", "UpstreamTls"]

HANDSHAKE_SECONDS = 10.0
"""Two round trips through a tunnel, and a server that is busy."""

MAX_CONTEXTS = 64
"""Each holds its roots, some hundred KiB for those of the system. Applications behind one company's CA share one."""


@attrs.frozen(kw_only=True)
class TlsTrust:
    """Whom an application's certificate has to be signed by."""

    ca_pem: str = ""
    """certificates in PEM; empty: the system's roots"""
    skip_verify: bool = False
    """whoever answers is believed"""


@attrs.define(eq=False)
class UpstreamTls:
    """Makes TLS connections; keeps the contexts, since reading the system's roots takes some 20 ms."""

    _contexts: dict[tuple[TlsTrust, bool], ssl.SSLContext] = attrs.field(factory=dict, init=False)

    async def wrap(
        self, stream: trio.abc.Stream, trust: TlsTrust, server_name: str, *, http2: bool
    ) -> TlsStream:
        """Make TLS on ``stream``, which the result owns; ``server_name`` is asked for and verified.

        HTTP/1.1 is offered, and before it HTTP/2 where ``http2`` says so: ``alpn`` of the result tells what the server
        has chosen, None where it does not know of any choice.

        Raises :exc:`TlsError` when the certificate is refused, or the handshake fails or takes too long, and
        :exc:`trio.BrokenResourceError`; the stream is closed then and when cancelled.
        """
        try:
            context = self._context(trust, http2)
            wrapped = TlsStream(stream, context, server_side=False, server_hostname=server_name)
        except ssl.SSLError as error:
            await trio.aclose_forcefully(stream)
            raise TlsError(f"its CA certificates cannot be used: {error.reason or error}") from error
        with trio.move_on_after(HANDSHAKE_SECONDS):
            await wrapped.do_handshake()
            return wrapped
        raise TlsError(f"the TLS handshake took longer than {HANDSHAKE_SECONDS:g} s")

    def _context(self, trust: TlsTrust, http2: bool) -> ssl.SSLContext:
        context = self._contexts.pop((trust, http2), None)
        if context is None:
            if len(self._contexts) >= MAX_CONTEXTS:
                del self._contexts[next(iter(self._contexts))]
            context = make_context(trust, http2)
        self._contexts[trust, http2] = context
        return context


def make_context(trust: TlsTrust, http2: bool) -> ssl.SSLContext:
    alpn = ["h2", "http/1.1"] if http2 else ["http/1.1"]
    if trust.skip_verify:
        return unverified_client_context(alpn)
    return client_context([trust.ca_pem.encode("ascii")] if trust.ca_pem else None, alpn)
