# SPDX-License-Identifier: Apache-2.0
"""How mezctl reaches a hub: address, trust and credential from its options or from the profile of `msh login`."""

from __future__ import annotations

import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mezite.api.client import ApiClient, RpcError, StatusCode
from mezite.api.dialing import AUTH_PORT, GRPC_ALPN, connect_api, fetch_cluster_ca
from mezite.cli.errors import EXIT_USAGE, CliError
from mezite.cli.hub_dialing import front_outbound
from mezite.cli.mezctl import AuthServer
from mezite.cli.profile_store import CurrentProfile, Profile, ProfileStore
from mezite.cli.trusted_roots import read_roots
from mezite.cli.user_certificate import check_usable
from mezite.cli.way_out import way_out
from mezite.core.join_token import InvalidJoinTokenError, parse_ca_pin
from mezite.net.addresses import split_host_port
from mezite.net.tls_contexts import client_context, load_identity

__all__ = ["failure_of", "open_hub"]


@asynccontextmanager
async def open_hub(options: AuthServer, *, credential: bool = True) -> AsyncIterator[ApiClient]:
    """Open a client to the hub that the options name; failures of calls leave as `CliError`.

    :raises CliError: no credential although one is needed, a bad pin or file, or what the hub answers.
    """
    current, profile = (None, None) if options.token is not None else _profile(credential=credential)
    if credential and options.token is None and profile is None:
        raise CliError(
            "not logged in",
            "there is no token and no profile",
            "run mezctl login and set MEZITE_AUTH_TOKEN, or msh login",
        )
    address = options.address
    if not options.address_given and current is not None and current.auth_addr:
        address = current.auth_addr
    _check_address(address)
    context = await _context(options, address, profile)
    if context is not None and profile is not None and credential:
        _show_certificate(context, profile)
    token = None if options.token is None else options.token.reveal()
    try:
        async with connect_api(address, context, token=token, outbound=way_out()) as client:
            yield client
    except RpcError as error:
        raise failure_of(error) from None


def failure_of(error: RpcError) -> CliError:
    """Return what the hub said as this program says it."""
    hints = {
        StatusCode.UNAUTHENTICATED: "log in again with mezctl login or msh login",
        StatusCode.UNAVAILABLE: "is the hub running and reachable?",
    }
    if "; " in error.message or ": " in error.message:
        return CliError(error.message)
    return CliError(
        error.message or error.status.name.lower().replace("_", " "), "", hints.get(error.status, "")
    )


def _profile(*, credential: bool) -> tuple[CurrentProfile | None, Profile | None]:
    """The profile of `msh login`, if there is one. :raises CliError: it is to be used and has expired."""
    store = ProfileStore.from_environment(os.environ)
    try:
        current = store.current()
        profile = store.load(current)
    except CliError:
        return None, None
    if credential:
        check_usable(current, profile)
    return current, profile


def _check_address(address: str) -> None:
    try:
        split_host_port(address, AUTH_PORT)
    except ValueError as error:
        raise CliError(
            "--auth-server cannot be read", str(error), "write HOST or HOST:PORT", exit_code=EXIT_USAGE
        ) from None


async def _context(options: AuthServer, address: str, profile: Profile | None) -> ssl.SSLContext | None:
    if options.plaintext:
        return None
    roots: tuple[bytes, ...] | None = None
    if options.ca_pin is not None:
        try:
            pin = parse_ca_pin(options.ca_pin)
        except InvalidJoinTokenError as error:
            raise CliError(
                "--ca-pin cannot be used",
                str(error),
                "take what `mezhub ca-pin` prints",
                exit_code=EXIT_USAGE,
            ) from None
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
