# SPDX-License-Identifier: Apache-2.0
"""HTTPS requests to servers that others have named: an identity provider, the receiver of a webhook.

A request is one connection, one answer, one deadline, and a bound on what is read. The host's name is looked up once;
what it stands for is checked, and the very address that was checked is dialled, so that a second look-up cannot lead
elsewhere (DNS rebinding). Redirects are not followed: where a server sends us to has not been checked by anybody.

This is our own client and not a library's because these three rules are about sockets: with httpx each of them means
replacing the transport underneath.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from functools import lru_cache, partial

import attrs
import trio

from mezite.core.oidc.provider_url import ProviderUrl
from mezite.core.reachable_address import why_unreachable

from .addresses import join_host_port
from .dialer import DialError, dial
from .http1_client import Http1ClientError, Response, request
from .tls_contexts import client_context
from .tls_stream import TlsError, TlsStream

__all__ = ["FetchError", "GuardedClient"]

ALPN = ("http/1.1",)

MAX_BODY = 256 * 1024
"""Key sets and discovery documents have some ten kilobytes."""

SECONDS = 10.0
"""For all of a request: a person waits for it."""

USER_AGENT = "mezite"


class FetchError(Exception):
    """There is no answer: the message says of whom, and why."""


@attrs.frozen(kw_only=True)
class GuardedClient:
    """How requests are made; each is on its own."""

    allow_private: bool = False
    """Whether addresses in private networks, and of this machine, may be called."""
    extra_roots: tuple[str, ...] = ()
    """PEM, believed besides the system's roots."""
    seconds: float = SECONDS
    max_body: int | None = MAX_BODY
    """Of an answer; None: only its head is read."""

    async def fetch(
        self,
        url: ProviderUrl,
        method: str = "GET",
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
    ) -> Response:
        """Make a request and return the answer, whatever its status but a redirect's.

        :raises FetchError: no answer in time, or none that can be used; an address that may not be called; a
            certificate that is not trusted; a redirect.
        """
        try:
            with trio.fail_after(self.seconds):
                return await self._fetch(url, method, headers, body)
        except trio.TooSlowError:
            raise FetchError(f"{url.authority} does not answer within {self.seconds:g} s") from None

    async def _fetch(
        self, url: ProviderUrl, method: str, headers: Sequence[tuple[str, str]], body: bytes
    ) -> Response:
        stream = await self._connect(url)
        try:
            response = await request(
                stream,
                method,
                url.target,
                [("user-agent", USER_AGENT), ("connection", "close"), *headers],
                body,
                host=url.authority,
                deadline=self.seconds,
                max_body=self.max_body,
            )
        except (Http1ClientError, trio.BrokenResourceError) as error:
            raise FetchError(f"{url.authority} gives no usable answer: {error}") from None
        finally:
            await trio.aclose_forcefully(stream)
        if 300 <= response.status < 400:
            raise FetchError(
                f"{url.authority} answers with a redirect (status {response.status}), and none is followed"
            )
        return response

    async def _connect(self, url: ProviderUrl) -> trio.abc.Stream:
        address = join_host_port(url.host, url.port)
        context = None if url.scheme == "http" else trusting(self.extra_roots)
        try:
            transport = await dial(
                address, url.port, refuse=partial(why_unreachable, allow_private=self.allow_private)
            )
        except DialError as error:
            raise FetchError(f"{error.what}: {error.why}") from None
        if context is None:
            return transport
        stream = TlsStream(transport, context, server_side=False, server_hostname=url.host)
        try:
            await stream.do_handshake()
        except (TlsError, trio.BrokenResourceError) as error:
            await trio.aclose_forcefully(stream)
            reason = error.reason if isinstance(error, TlsError) else str(error)
            raise FetchError(f"no TLS session with {url.authority}: {reason}") from None
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
        return stream


@lru_cache(maxsize=64)
def trusting(extra_roots: tuple[str, ...]) -> ssl.SSLContext:
    """Raises FetchError. Kept, because reading the system's roots takes longer than a request."""
    context = client_context(None, ALPN)
    for pem in extra_roots:
        try:
            context.load_verify_locations(cadata=pem)
        except ssl.SSLError as error:
            raise FetchError(f"the roots of ca_pem cannot be read: {error.reason or error}") from None
    return context
