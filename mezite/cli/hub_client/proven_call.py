# SPDX-License-Identifier: Apache-2.0
"""Calls for which a hub wants to see again that it is the user."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from mezite.api.pb.mezite.v1 import factors_pb2 as pb
from mezite.cli.hub_client.second_factor import ask_code, code_field, needed_proofs
from mezite.cli.terminal.errors import CliError, run_command
from mezite.cli.terminal.prompts import ask_password

__all__ = ["proven"]

_T = TypeVar("_T")


def proven(
    call: Callable[[pb.Proof], Awaitable[_T]], *, mfa_code: str = "", password_stdin: bool = False
) -> _T:
    """Call; when the hub wants to see again that it is the user, ask for what it takes and call again."""
    try:
        return run_command(call, pb.Proof(**code_field(mfa_code)))
    except CliError as error:
        proofs = needed_proofs(error)
        if not proofs or proofs == ["login"]:
            raise
    if "password" in proofs:
        password = ask_password("Your password", None, from_stdin=password_stdin)
        return run_command(call, pb.Proof(password=password.reveal()))
    return run_command(call, pb.Proof(**code_field(ask_code(proofs).reveal())))
