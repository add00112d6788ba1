# SPDX-License-Identifier: Apache-2.0
"""Asking for passwords without ever needing one in argv."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from mezite.cli.terminal.errors import EXIT_USAGE, CliError
from mezite.core.secret import Secret

__all__ = ["ask_password", "confirm_new_password", "given_password", "password_options"]

_F = TypeVar("_F", bound=Callable[..., Any])

# Longer than any password; a pipe that never ends must not fill memory.
_MAX_STDIN = 4096


def password_options(function: _F) -> _F:
    """Add ``--password`` and ``--password-stdin``, which :func:`ask_password` takes."""
    from_argument = click.option(
        "--password", metavar="PASSWORD", help="Visible to others on this machine; prefer the next."
    )
    from_stdin = click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
    return from_argument(from_stdin(function))


def ask_password(
    prompt: str, password: str | None, *, from_stdin: bool, environ: Mapping[str, str] | None = None
) -> Secret:
    """Return the password: the option, else standard input if asked for, else ``MEZITE_PASSWORD``, else a
    prompt.

    :raises CliError: both options given, an empty password, or nobody there to ask.
    """
    found = given_password(password, from_stdin=from_stdin, environ=environ)
    if found is not None:
        return found
    if not sys.stdin.isatty():
        raise CliError(
            "no password",
            "standard input is not a terminal",
            "use --password-stdin or MEZITE_PASSWORD",
            exit_code=EXIT_USAGE,
        )
    return _nonempty(click.prompt(prompt, hide_input=True, err=True, default="", show_default=False))


def given_password(
    password: str | None, *, from_stdin: bool, environ: Mapping[str, str] | None = None
) -> Secret | None:
    """Return the password if one was given without a prompt.

    :raises CliError: both options given, or an empty password.
    """
    environ = os.environ if environ is None else environ
    if password is not None and from_stdin:
        raise CliError("--password and --password-stdin exclude each other", exit_code=EXIT_USAGE)
    if password is not None:
        return _nonempty(password)
    if from_stdin:
        # One line; what an editor or `echo` puts behind it is no part of the password.
        return _nonempty(sys.stdin.read(_MAX_STDIN).partition("\n")[0].removesuffix("\r"))
    if environ.get("MEZITE_PASSWORD"):
        return Secret(environ["MEZITE_PASSWORD"])
    return None


def confirm_new_password(prompt: str) -> Secret:
    """Ask twice for a password that is being set.

    :raises CliError: empty.
    """
    return _nonempty(
        click.prompt(
            prompt, hide_input=True, confirmation_prompt=True, err=True, default="", show_default=False
        )
    )


def _nonempty(text: str) -> Secret:
    if not text:
        raise CliError("the password is empty", exit_code=EXIT_USAGE)
    return Secret(text)
