# SPDX-License-Identifier: Apache-2.0
"""msh's connection to the hub: mutual TLS with the profile's certificate, then channels."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio

from mezite.cli.hub_client.granted_access import store_and_profile
from mezite.cli.hub_client.hub_dialing import connect_hub
from mezite.cli.hub_client.profile_store import CurrentProfile, Profile
from mezite.cli.hub_client.user_certificate import check_usable
from mezite.cli.terminal.errors import CliError
from mezite.core.mux.connection import ChannelHeader, Side
from mezite.core.mux.error_codes import ErrorCode
from mezite.net.mux_channel import MuxChannel
from mezite.net.mux_session import ChannelRejectedError, MuxSession, TunnelClosedError

if TYPE_CHECKING:
    from mezite.api.client import ApiClient

__all__ = ["current_profile", "open_api", "open_channel"]


def current_profile(*, ordinary: bool = False) -> tuple[CurrentProfile, Profile]:
    """Return the profile in use; `ordinary`: with the certificates of the login, even while granted ones are in use.

    :raises CliError: not logged in, or the certificate has expired or is damaged.
    """
    store, current, profile = store_and_profile()
    if ordinary:
        profile = store.ordinary(current)
    check_usable(current, profile)
    return current, profile


@asynccontextmanager
async def open_channel(header: ChannelHeader, *, ordinary: bool = False) -> AsyncIterator[MuxChannel]:
    """Connect to the hub of the profile and open one channel, for the duration of the block; `ordinary` as above.

    :raises CliError: not logged in, the hub cannot be reached or refuses; the text is the hub's.
    """
    current, profile = current_profile(ordinary=ordinary)
    stream = await connect_hub(current, profile)
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
async def open_api(*, ordinary: bool = False) -> AsyncIterator[ApiClient]:
    """Open an API client through the hub's SSH port, as the profile's user; `ordinary` as above.

    :raises CliError: as `open_channel`, and what the hub answers to a call.
    """
    # A third of the time that `msh proxy ssh` takes to start would go into what only this needs.
    from mezite.api.client import ClientOptions, RpcError, open_api_client  # noqa: PLC0415
    from mezite.cli.hub_client.hub_connection import failure_of  # noqa: PLC0415

    failure: CliError | None = None
    async with open_channel(ChannelHeader(kind="api"), ordinary=ordinary) as channel:
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


def _goodbye(session: MuxSession, closed: TunnelClosedError, current: CurrentProfile) -> str:
    goaway = session.goaway_received
    if goaway is not None and goaway.code is not ErrorCode.NO_ERROR and goaway.text:
        return goaway.text
    return f"the connection to the hub at {current.ssh_addr} was lost: {closed.reason}; try again"
