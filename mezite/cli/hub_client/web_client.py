# SPDX-License-Identifier: Apache-2.0
"""msh's calls to the web API, and how it comes to trust a hub."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Mapping
from typing import Any

import attrs
import trio

from mezite.api.signed_trust import ApiConnectError, check_pin
from mezite.cli.hub_client.way_out import way_out
from mezite.cli.terminal.errors import CliError
from mezite.core.certificates.continuation import ClusterTrust, SignedTrust, follow
from mezite.core.certificates.x509_issue import certificate_spki_sha256, load_certificates
from mezite.core.secret import Secret
from mezite.net.addresses import split_host_port
from mezite.net.dialer import DialError
from mezite.net.http1_client import Http1ClientError, Response, request
from mezite.net.tls_contexts import client_context, unverified_client_context
from mezite.net.tls_stream import TlsError, TlsStream

__all__ = ["UntrustedHubError", "WebClient", "find_hub", "trust_by_continuation", "trust_by_pin"]

ALPN = ("http/1.1",)
PORTS = (443, 3080)
"""Where a hub is when the user names no port: behind a balancer, or its own default."""

CALL_SECONDS = 30
"""A login hashes a password, which takes a busy hub a second or two."""

PROBE_SECONDS = 5
"""For each of the two ports; a filtered one must not cost a minute."""

MAX_ANSWER = 256 * 1024


class UntrustedHubError(CliError):
    """Nobody whom we believe vouches for the certificate that the hub shows."""


@attrs.frozen(kw_only=True)
class WebClient:
    """Calls to one hub. Each call is a connection of its own: there are four of them in a login."""

    address: str
    """`host:port`."""
    context: ssl.SSLContext

    async def get(self, path: str) -> dict[str, Any]:
        """:raises CliError: no answer, or the hub refuses."""
        return await self._call("GET", path, None, None)

    async def post(
        self, path: str, fields: Mapping[str, object], *, token: Secret | None = None
    ) -> dict[str, Any]:
        """:raises CliError: no answer, or the hub refuses."""
        return await self._call("POST", path, fields, token)

    async def _call(
        self, method: str, path: str, fields: Mapping[str, object] | None, token: Secret | None
    ) -> dict[str, Any]:
        headers = [("accept", "application/json"), ("connection", "close")]
        body = b""
        if fields is not None:
            headers.append(("content-type", "application/json"))
            body = json.dumps(fields).encode()
        if token is not None:
            headers.append(("authorization", f"Bearer {token.reveal()}"))
        stream = await self._open()
        try:
            with trio.fail_after(CALL_SECONDS):
                response = await request(
                    stream, method, path, headers, body, host=self.address, max_body=MAX_ANSWER
                )
        except (trio.TooSlowError, trio.BrokenResourceError, Http1ClientError) as error:
            raise CliError(f"the hub at {self.address} does not answer", str(error), "try again") from None
        finally:
            await trio.aclose_forcefully(stream)
        return self._answer(response)

    async def _open(self) -> TlsStream:
        host, port = split_host_port(self.address, PORTS[0])
        transport = await way_out().dial(self.address, port)
        stream = TlsStream(transport, self.context, server_side=False, server_hostname=host)
        try:
            with trio.fail_after(CALL_SECONDS):
                await stream.do_handshake()
        except TlsError as error:
            hint = "check that this is the hub's HTTPS port (default 3080)"
            if "verify failed" in error.reason:
                hint = "give --ca-pin with what `mezhub ca-pin` prints on the hub, or --ca-file"
                raise UntrustedHubError(
                    f"cannot trust the hub at {self.address}", error.reason, hint
                ) from None
            raise CliError(f"cannot trust the hub at {self.address}", error.reason, hint) from None
        except trio.TooSlowError:
            raise CliError(
                f"the hub at {self.address} does not finish the TLS handshake", "", "is this its HTTPS port?"
            ) from None
        return stream

    def _answer(self, response: Response) -> dict[str, Any]:
        try:
            values = json.loads(response.body)
        except ValueError:
            values = None
        if not isinstance(values, dict):
            raise CliError(
                f"{self.address} does not answer like a hub",
                f"status {response.status} without JSON",
                "check that this is the hub's HTTPS port",
            )
        if response.status >= 400:
            error = values.get("error")
            message = error.get("message") if isinstance(error, dict) else None
            raise CliError(
                str(message or f"the hub answered with status {response.status}"),
                details=error if isinstance(error, dict) else None,
            )
        return values


async def find_hub(proxy: str) -> str:
    """Return `host:port`: as given, or with the first of 443 and 3080 on which something answers.

    :raises CliError: neither answers, or the address cannot be read.
    """
    try:
        host, port = split_host_port(proxy, 0)
    except ValueError as error:
        raise CliError("--proxy cannot be read", str(error), "write HOST or HOST:PORT", exit_code=2) from None
    if port:
        return proxy
    failures = []
    for candidate in PORTS:
        address = f"[{host}]:{candidate}" if ":" in host else f"{host}:{candidate}"
        try:
            stream = await way_out().dial(address, candidate, deadline_seconds=PROBE_SECONDS)
        except DialError as error:
            failures.append(f"{candidate}: {error.why}")
            continue
        await trio.aclose_forcefully(stream)
        return address
    raise CliError(f"no hub answers at {host}", ", ".join(failures), "give the port with --proxy=HOST:PORT")


async def trust_by_pin(address: str, pin: str) -> tuple[bytes, ...]:
    """Return the hub's CA bundle, held against the pin.

    :raises CliError: the pin does not match.
    """
    pems, trust = await _offered_trust(address)
    try:
        return check_pin(pems, trust, pin, address)
    except ApiConnectError as error:
        raise CliError(error.what, error.why, error.hint) from None


async def trust_by_continuation(address: str, known_ca_pem: bytes) -> ClusterTrust:
    """Return whom to trust now, by what a CA that is known from an earlier login has signed.

    :raises CliError: nothing leads from there to the hub.
    """
    _pems, trust = await _offered_trust(address)
    try:
        known = [certificate_spki_sha256(one) for one in load_certificates(known_ca_pem)]
        return follow(known, trust, now=time.time_ns() // 1_000_000_000)
    except ValueError:
        raise CliError(
            f"cannot trust the hub at {address}",
            "its CA is not the one of your last login, and that one has signed nothing about another",
            "give --ca-pin with what `mezhub ca-pin` prints on the hub, or --ca-file",
        ) from None


async def _offered_trust(address: str) -> tuple[list[str], list[SignedTrust]]:
    """What the hub says of its CAs, which is worth nothing yet."""
    answer = await WebClient(address=address, context=unverified_client_context(ALPN)).get("/v1/webapi/ca")
    pems, lists = answer.get("host_tls_ca_pem"), answer.get("trust")
    return (
        [pem for pem in pems if isinstance(pem, str)] if isinstance(pems, list) else [],
        [found for one in lists if (found := _signed_trust(one))] if isinstance(lists, list) else [],
    )


def _signed_trust(value: object) -> SignedTrust | None:
    if not isinstance(value, dict) or not isinstance(value.get("document"), str):
        return None
    signatures = value.get("signatures")
    if not isinstance(signatures, dict) or not all(isinstance(one, str) for one in signatures.values()):
        return None
    return SignedTrust(document=value["document"], signatures=signatures)


def trusting(roots: tuple[bytes, ...] | None) -> ssl.SSLContext:
    """Return a context that trusts these roots, or the system's."""
    return client_context(roots, ALPN)
