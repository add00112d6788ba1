# SPDX-License-Identifier: Apache-2.0
"""msh's connection to the hub: mutual TLS with the profile's certificate, then channels."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from mezite.cli.errors import CliError
from mezite.cli.profile_store import CurrentProfile, Profile, ProfileStore
from mezite.cli.user_certificate import check_usable
from mezite.core.certificates.identity import PeerKind
from mezite.core.certificates.refusal import CertificateRefused
from mezite.core.certificates.x509_issue import load_certificates
from mezite.core.certificates.x509_verify import verify_x509
from mezite.core.mux.connection import ChannelHeader, Side
from mezite.core.mux.error_codes import ErrorCode
from mezite.net.dialer import dial
from mezite.net.mux_channel import MuxChannel
from mezite.net.mux_session import ChannelRejectedError, MuxSession, TunnelClosedError
from mezite.net.tls_contexts import mutual_client_context
from mezite.net.tls_stream import TlsError, TlsStream

if TYPE_CHECKING:
    from mezite.api.client import ApiClient

__all__ = ["current_profile", "open_api", "open_channel"]

SSH_PORT = 3023
ALPN = ("mezite-connect/1",)
CONNECT_SECONDS = 15


def current_profile() -> tuple[CurrentProfile, Profile]:
    """Return the profile in use.

    :raises CliError: not logged in, or the certificate has expired or is damaged.
    """
    store = ProfileStore.from_environment(os.environ)
    current = store.current()
    profile = store.load(current)
    check_usable(current, profile)
    return current, profile


@asynccontextmanager
async def open_channel(header: ChannelHeader) -> AsyncIterator[MuxChannel]:
    """Connect to the hub of the profile and open one channel, for the duration of the block.

    :raises CliError: not logged in, the hub cannot be reached or refuses; the text is the hub's.
    """
    current, profile = current_profile()
    stream = await _connect(current, profile)
    session = MuxSession(stream, Side.DIALER)
    failure: CliError | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_run, session)
        try:
            async with await session.open_channel(header, deadline_seconds=30) as channel:
                yield channel
        except ChannelRejectedError as rejected:
            failure = CliError(rejected.text or f"the hub refused: {rejected.code.name.lower()}")
        except TunnelClosedError as closed:
            failure = CliError(_goodbye(session, closed, current))
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


@asynccontextmanager
async def open_api() -> AsyncIterator[ApiClient]:
    """Open an API client through the hub's SSH port, as the profile's user.

    :raises CliError: as `open_channel`, and what the hub answers to a call.
    """
    # A third of the time that `msh proxy ssh` takes to start would go into what only this needs.
    from mezite.api.client import ClientOptions, RpcError, open_api_client  # noqa: PLC0415
    from mezite.cli.hub_connection import failure_of  # noqa: PLC0415

    failure: CliError | None = None
    async with open_channel(ChannelHeader(kind="api")) as channel:
        try:
            async with open_api_client(channel, ClientOptions(authority="hub")) as client:
                yield client
        except RpcError as error:
            failure = failure_of(error)
    if failure is not None:
        raise failure


async def _run(session: MuxSession) -> None:
    try:
        await session.run()
    except TunnelClosedError:
        # Whoever uses the session learns it from the channel.
        return


async def _connect(current: CurrentProfile, profile: Profile) -> TlsStream:
    address = current.ssh_addr or current.host
    try:
        context = mutual_client_context([profile.ca_pem], profile.tls_certificate, profile.tls_key, ALPN)
    except (ValueError, ssl.SSLError) as error:
        raise CliError("your certificate cannot be used", str(error), "run msh login again") from None
    transport = await dial(address, SSH_PORT, deadline_seconds=CONNECT_SECONDS)
    stream = TlsStream(transport, context, server_side=False, server_hostname=None)
    try:
        with trio.fail_after(CONNECT_SECONDS):
            await stream.do_handshake()
        _check_hub(stream, current, profile)
    except TlsError as error:
        raise CliError(
            f"cannot connect to the hub at {address}",
            error.reason,
            f"if its CA has changed, run msh login --proxy={current.proxy_addr} --ca-pin=PIN",
        ) from None
    except CliError:
        await trio.aclose_forcefully(stream)
        raise
    except trio.TooSlowError:
        raise CliError(
            f"the hub at {address} does not answer within {CONNECT_SECONDS} s",
            "",
            "is this its SSH port (3023)?",
        ) from None
    return stream


def _check_hub(stream: TlsStream, current: CurrentProfile, profile: Profile) -> None:
    certificate = stream.peer_certificate()
    if stream.alpn != ALPN[0] or certificate is None:
        raise CliError(
            f"{current.ssh_addr} is not a hub's SSH port", "it speaks another protocol", "log in again"
        )
    try:
        verify_x509(
            certificate,
            ca_certs=load_certificates(profile.ca_pem),
            cluster=current.cluster,
            kind=PeerKind.HUB,
            now=time.time_ns() // 1_000_000_000,
        )
    except CertificateRefused as refused:
        raise CliError(f"cannot trust the hub at {current.ssh_addr}", refused.message) from None


def _goodbye(session: MuxSession, closed: TunnelClosedError, current: CurrentProfile) -> str:
    goaway = session.goaway_received
    if goaway is not None and goaway.code is not ErrorCode.NO_ERROR and goaway.text:
        return goaway.text
    return f"the connection to the hub at {current.ssh_addr} was lost: {closed.reason}; try again"
