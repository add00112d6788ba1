# SPDX-License-Identifier: Apache-2.0
"""How this program gets out, as the environment and its options say."""

from __future__ import annotations

import os

from mezite.cli.terminal.errors import EXIT_USAGE, CliError
from mezite.core.outbound_proxy import InvalidProxyError, ProxySettings
from mezite.net.outbound import Outbound

__all__ = ["way_out"]


def way_out(*roots: bytes) -> Outbound:
    """Return the way out: `HTTPS_PROXY` and `NO_PROXY`, and `roots` (PEM) besides the system's.

    :raises CliError: a variable cannot be used.
    """
    try:
        proxies = ProxySettings.from_environment(os.environ)
    except InvalidProxyError as error:
        raise CliError(error.what, error.why, error.hint, exit_code=EXIT_USAGE) from None
    return Outbound(proxies=proxies, extra_roots=roots)
