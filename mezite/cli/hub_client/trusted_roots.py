# SPDX-License-Identifier: Apache-2.0
"""What `--ca-file` and `outer_ca_file` name."""

from __future__ import annotations

from pathlib import Path

from mezite.cli.terminal.errors import CliError
from mezite.core.certificates.x509_issue import load_certificates

__all__ = ["read_roots"]


def read_roots(path: str, *, setting: str = "--ca-file") -> bytes:
    """Return the PEM certificates of a file. :raises CliError: it cannot be read, or holds none."""
    hint = f"give a file of PEM certificates with {setting}"
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise CliError(f"cannot read {path}", error.strerror or str(error), hint) from None
    try:
        load_certificates(data)
    except ValueError:
        raise CliError(f"cannot use {path}", "it holds no certificate", hint) from None
    return data
