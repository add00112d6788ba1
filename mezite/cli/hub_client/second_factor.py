# SPDX-License-Identifier: Apache-2.0
"""Codes of second factors: given by option or environment, or asked for when the hub says that one is needed."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from mezite.cli.terminal.errors import EXIT_USAGE, CliError
from mezite.core.secret import Secret

__all__ = ["ask_code", "code_field", "mfa_code_option", "needed_factors", "needed_proofs"]

_F = TypeVar("_F", bound=Callable[..., Any])

_TOTP = re.compile(r"[0-9]{6}", re.ASCII)


def mfa_code_option(function: _F) -> _F:
    """Add ``--mfa-code``, which is also ``MEZITE_MFA_CODE``."""
    option = click.option(
        "--mfa-code",
        metavar="CODE",
        default="",
        envvar="MEZITE_MFA_CODE",
        help="Code of an authenticator app, or a recovery code.",
    )
    return option(function)


def code_field(code: str) -> dict[str, str]:
    """Return the field of a request that a typed code belongs in; empty without a code.

    Six digits, in groups or not, are an authenticator's; anything else is a recovery code.
    """
    plain = "".join(code.split())
    if not plain:
        return {}
    return {"totp": plain} if _TOTP.fullmatch(plain) else {"recovery_code": plain}


def needed_factors(error: CliError) -> Sequence[str]:
    """Return the kinds of factors one of which the hub has asked for; empty when it is another failure."""
    return _listed(error, "mfa_required", "factors")


def needed_proofs(error: CliError) -> Sequence[str]:
    """Return what the hub takes as a proof that it is still the user; empty when it is another failure."""
    return _listed(error, "proof_required", "proofs")


def _listed(error: CliError, code: str, name: str) -> Sequence[str]:
    value = error.details.get(name)
    if error.details.get("code") != code or not value:
        return ()
    words = value.split(",") if isinstance(value, str) else value
    return [word for word in words if isinstance(word, str)] if isinstance(words, list) else ()


def ask_code(factors: Sequence[str]) -> Secret:
    """Ask for a code of one of these factors.

    :raises CliError: nobody is there to ask, or nothing was typed.
    """
    if not sys.stdin.isatty():
        raise CliError(
            "a second factor is needed",
            "standard input is not a terminal",
            "give --mfa-code or MEZITE_MFA_CODE",
            exit_code=EXIT_USAGE,
        )
    if "totp" in factors:
        text = "Code of your authenticator app, or a recovery code"
    else:
        text = "Recovery code (your security key works in the browser only)"
    code = click.prompt(text, err=True, default="", show_default=False)
    if not code.strip():
        raise CliError("no code was typed", exit_code=EXIT_USAGE)
    return Secret(code)
