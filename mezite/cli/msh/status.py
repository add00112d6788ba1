# SPDX-License-Identifier: Apache-2.0
"""`msh status`: who you are, what you may be, and until when. Asks nobody: the certificates say it."""

from __future__ import annotations

import time

import click

from mezite.cli.hub_client.granted_access import store_and_profile, warn_of_end
from mezite.cli.hub_client.user_certificate import read_user_certificate
from mezite.cli.terminal.errors import EXIT_FAILED
from mezite.cli.terminal.output import OutputFormat, format_option, print_record
from mezite.core.timestamps import format_seconds

__all__ = ["status"]


@click.command(help="Show identity, roles, logins and expiry.")
@format_option
def status(output_format: OutputFormat) -> int:
    """Print the record; the exit code is 1 when the certificate has expired."""
    _store, current, profile = store_and_profile()
    certificate = read_user_certificate(profile)
    expired = time.time_ns() // 1_000_000_000 >= certificate.valid_before
    print_record(
        {
            "user": current.user,
            "cluster": current.cluster,
            "proxy": current.proxy_addr,
            "roles": list(certificate.roles),
            "logins": list(certificate.principals),
            "expires_at": format_seconds(certificate.valid_before),
            "expired": expired,
            "requests": list(certificate.request_ids),
        },
        output_format,
    )
    warn_of_end(certificate)
    return EXIT_FAILED if expired else 0
