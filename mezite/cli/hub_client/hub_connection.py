# SPDX-License-Identifier: Apache-2.0
"""How mezctl reaches a hub: address, trust and credential from its options or from the profile of `msh login`."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mezite.api.client import ApiClient, RpcError, StatusCode
from mezite.api.dialing import AUTH_PORT, GRPC_ALPN, ApiConnectError, connect_api, fetch_cluster_ca
from mezite.cli.hub_client.auth_server import AuthServer
from mezite.cli.hub_client.granted_access import loaded_profile
from mezite.cli.hub_client.hub_dialing import front_outbound
from mezite.cli.hub_client.profile_store import CurrentProfile, Profile, ProfileStore
from mezite.cli.hub_client.trusted_roots import read_roots
from mezite.cli.hub_client.user_certificate import check_usable
from mezite.cli.hub_client.way_out import way_out
from mezite.cli.terminal.errors import EXIT_USAGE, CliError
from mezite.core.join_token import InvalidJoinTokenError, parse_ca_pin
from mezite.net.addresses import split_host_port
from mezite.net.dialer import DialError
from mezite.net.tls_contexts import client_context, load_identity

__all__ = ["address_of", "context_of", "failure_of", "open_hub", "pin_of", "profile_of"]


@asynccontextmanager
async def open_hub(options: AuthServer, *, credential: bool = True) -> AsyncIterator[ApiClient]:
    """Open a client to the hub that the options name; failures of calls leave as `CliError`.

    :raises CliError: no credential although one is needed, a bad pin or file, or what the hub answers.
    """
    current, profile = (None, None) if options.token is not None else profile_of(credential=credential)
    if credential and options.token is None and profile is None:
        raise CliError(
            "not logged in",
            "there is no token and no profile",
            "run mezctl login and set MEZITE_AUTH_TOKEN, or msh login",
        )
    address = address_of(options, current)
    token = None if options.token is None else options.token.reveal()
    try:
        context = await context_of(options, address, profile)
        if context is not None and profile is not None and credential:
            _show_certificate(context, profile)
        async with connect_api(address, context, token=token, outbound=way_out()) as client:
            yield client
    except RpcError as error:
        raise failure_of(error) from None
    except (ApiConnectError, DialError) as error:
        raise await _explained(error, address) from None


async def _explained(error: ApiConnectError | DialError, address: str) -> CliError:
    """Return why the gRPC port cannot be used, having found out what listens there when it is not that."""
    if isinstance(error, ApiConnectError) and ("verify failed" in error.why or "CA pin" in error.what):
        return CliError(error.what, error.why, error.hint)
    from mezite.core.wrong_doors import Door, grpc_balancer_hint  # noqa: PLC0415 - only on the way out
    from mezite.net.hop import Hop, wrong_door  # noqa: PLC0415

    if isinstance(error, DialError):
        hint = f"{error.hint}; {grpc_balancer_hint('--auth-server')}"
        return CliError(error.what, error.why, hint if "refused" in error.why else error.hint)
    found = await wrong_door(Hop(address, Door.GRPC, "--auth-server", way_out()), error.why)
    return CliError(error.what, found.why, found.hint)


def failure_of(error: RpcError) -> CliError:
    """Return what the hub said as this program says it."""
    hints = {
        StatusCode.UNAUTHENTICATED: "log in again with mezctl login or msh login",
        StatusCode.UNAVAILABLE: "is the hub running and reachable?",
    }
    if "; " in error.message or ": " in error.message:
        return CliError(error.message, details=error.details)
    return CliError(
        error.message or error.status.name.lower().replace("_", " "),
        "",
        hints.get(error.status, ""),
        details=error.details,
    )


def profile_of(*, credential: bool) -> tuple[CurrentProfile | None, Profile | None]:
    """The profile of `msh login`, if there is one. :raises CliError: it is to be used and has expired."""
    store = ProfileStore.from_environment(os.environ)
    try:
        current = store.current()
        profile = loaded_profile(store, current)
    except CliError:
        return None, None
    if credential:
        check_usable(current, profile)
    return current, profile


def address_of(options: AuthServer, current: CurrentProfile | None) -> str:
    """Return `HOST[:PORT]` of the gRPC API. :raises CliError: it cannot be read."""
    address = options.address
    if not options.address_given and current is not None and current.auth_addr:
        address = current.auth_addr
    _check_address(address)
    return address


def _check_address(address: str) -> None:
    try:
        split_host_port(address, AUTH_PORT)
    except ValueError as error:
        raise CliError(
            "--auth-server cannot be read", str(error), "write HOST or HOST:PORT", exit_code=EXIT_USAGE
        ) from None


def pin_of(text: str) -> str:
    """Return the 64 hex digits of `--ca-pin`. :raises CliError: it is not a pin."""
    try:
        return parse_ca_pin(text)
    except InvalidJoinTokenError as error:
        raise CliError(
            "--ca-pin cannot be used", str(error), "take what `mezhub ca-pin` prints", exit_code=EXIT_USAGE
        ) from None


async def context_of(options: AuthServer, address: str, profile: Profile | None) -> ssl.SSLContext | None:
    """Return whom to trust at the gRPC port, None for h2c. :raises CliError: an option cannot be used."""
    if options.plaintext:
        return None
    roots: tuple[bytes, ...] | None = None
    if options.ca_pin is not None:
        pin = pin_of(options.ca_pin)
        roots = (await fetch_cluster_ca(address, pin, outbound=way_out())).bundle
    elif options.ca_file is not None:
        roots = (read_roots(options.ca_file),)
    elif profile is not None:
        if profile.front_roots:
            return front_outbound(profile.front_roots).context(GRPC_ALPN, [profile.ca_pem])
        roots = (profile.ca_pem,)
    return client_context(roots, GRPC_ALPN)


def _show_certificate(context: ssl.SSLContext, profile: Profile) -> None:
    try:
        load_identity(context, profile.tls_certificate, profile.tls_key)
    except ssl.SSLError as error:
        raise CliError("your certificate cannot be used", str(error), "run msh login again") from None
