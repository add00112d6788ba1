# SPDX-License-Identifier: Apache-2.0
"""The global options of ``mezctl``: which API to call, and as whom."""

from __future__ import annotations

import attrs
import click

from mezite.core.secret import Secret

__all__ = ["AuthServer", "auth_server", "remember"]

_KEY = "mezite.auth_server"


@attrs.frozen(kw_only=True)
class AuthServer:
    """What stood before the command."""

    address: str = "localhost:3025"
    """``HOST[:PORT]`` of the gRPC API."""
    address_given: bool = False
    """Whether the user chose the address; if not, the profile of ``msh login`` may know a better one."""
    token: Secret | None = None
    """Session token of ``mezctl login``; None to use the profile of ``msh login``."""
    ca_pin: str | None = None
    """``sha256:<64 hex>`` that the hub's CA must have."""
    ca_file: str | None = None
    """PEM file with further roots, for a balancer that ends TLS."""
    plaintext: bool = False
    """h2c instead of TLS."""


def auth_server(ctx: click.Context) -> AuthServer:
    """Return the global options that stood before the command."""
    found = ctx.meta.get(_KEY, AuthServer())
    assert isinstance(found, AuthServer)
    return found


def remember(ctx: click.Context, server: AuthServer) -> None:
    """Keep the options for the command that follows them."""
    ctx.meta[_KEY] = server
