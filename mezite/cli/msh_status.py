# SPDX-License-Identifier: Apache-2.0
"""`msh status`: who you are, what you may be, and until when. Asks nobody: the certificates say it."""

from __future__ import annotations

import os
import time

import click

from mezite.cli.errors import EXIT_FAILED
from mezite.cli.output import OutputFormat, format_option, print_record
from mezite.cli.profile_store import ProfileStore
from mezite.cli.user_certificate import read_user_certificate
from mezite.core.timestamps import format_seconds

__all__ = ["status"]


@click.command(help="Show identity, roles, logins and expiry.")
@format_option
def status(output_format: OutputFormat) -> int:
    """Print the record; the exit code is 1 when the certificate has expired."""
    store = ProfileStore.from_environment(os.environ)
    current = store.current()
    certificate = read_user_certificate(store.load(current))
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
        },
        output_format,
    )
    return EXIT_FAILED if expired else 0
