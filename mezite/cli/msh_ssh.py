# SPDX-License-Identifier: Apache-2.0
"""`msh ssh`: the stock OpenSSH client, told how to reach a node and whom to trust.

OpenSSH does terminals, forwarding and escapes better than anything we could write; what it lacks is the way to the
node, which `msh proxy ssh` is.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import subprocess
from collections.abc import Sequence

import click

from mezite.cli.errors import EXIT_FAILED, EXIT_USAGE, CliError
from mezite.cli.profile_store import CurrentProfile, ProfileStore
from mezite.cli.program_path import program_text
from mezite.cli.user_certificate import read_user_certificate
from mezite.cli.user_session import current_profile

__all__ = ["choose_login", "client_options", "run_client", "ssh"]

EXIT_NO_CONNECTION = 255

_FLAGS = ("-A", "-t", "-T", "-N", "-v", "-q", "-f", "-n", "-C", "-x", "-4", "-6")
_VALUES = ("-L", "-R", "-D", "-W", "-o", "-E")


@click.command(
    help="Open a shell on a node, or run a command there. Options as in ssh; they come before the node.",
    context_settings={"ignore_unknown_options": True, "allow_interspersed_args": False},
)
@click.option("--login", "-l", metavar="LOGIN", help="The account on the node.")
@click.option("--mfa-code", metavar="CODE", help="Code of a second factor.")
@click.argument(
    "arguments", nargs=-1, type=click.UNPROCESSED, metavar="[SSH OPTIONS] [USER@]NODE [COMMAND]..."
)
def ssh(login: str | None, mfa_code: str | None, arguments: tuple[str, ...]) -> int:
    """Run ssh and return its exit code: the remote command's, or 255 when there was no connection."""
    if mfa_code:
        raise CliError(
            "--mfa-code is not needed", "no role of this hub asks for it yet", exit_code=EXIT_USAGE
        )
    options, destination, command = split_arguments(arguments)
    user, _, node = destination.rpartition("@")
    try:
        current, profile = current_profile()
        chosen = choose_login(user or login, read_user_certificate(profile).principals)
    except CliError as error:
        # As ssh itself: whatever keeps the connection from being made is 255.
        error.exit_code = EXIT_NO_CONNECTION if error.exit_code == EXIT_FAILED else error.exit_code
        raise
    return run_client("ssh", [*client_options(current), "-l", chosen, *options, "--", node, *command])


def split_arguments(arguments: Sequence[str]) -> tuple[list[str], str, list[str]]:
    """Return ssh's options, the destination and the command.

    :raises CliError: no node, or an option that ssh has and that would undo what is set here.
    """
    options: list[str] = []
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        argument = rest.pop(0)
        if argument == "--":
            break
        if argument[:2] in _VALUES:
            options.append(argument)
            if len(argument) == 2:
                if not rest:
                    raise CliError(f"{argument} needs a value", "", "see ssh(1)", exit_code=EXIT_USAGE)
                options.append(rest.pop(0))
        elif argument in _FLAGS or set(argument[1:]) <= {flag[1] for flag in _FLAGS}:
            options.append(argument)
        else:
            raise CliError(
                f"unknown option {argument}",
                f"known are {' '.join((*_FLAGS, *_VALUES))}",
                "for more use `msh config` with ssh itself",
                exit_code=EXIT_USAGE,
            )
    if not rest or not rest[0].rpartition("@")[2]:
        raise CliError(
            "no node given",
            "",
            "msh ssh [USER@]NODE [COMMAND]; `msh ls` shows the nodes",
            exit_code=EXIT_USAGE,
        )
    return options, rest[0], rest[1:]


def choose_login(wanted: str | None, principals: Sequence[str]) -> str:
    """Return the account to ask for: the one that was named, the local user's if allowed, or the only one there is.

    :raises CliError: there is nothing to choose from, or too much.
    """
    if wanted:
        return wanted
    if not principals:
        raise CliError("you have no logins", "", "ask an administrator for the trait `logins`")
    local = getpass.getuser()
    if local in principals:
        return local
    if len(principals) == 1:
        return principals[0]
    raise CliError(
        "which login?", f"you have {', '.join(principals)}", "use LOGIN@NODE", exit_code=EXIT_USAGE
    )


def client_options(current: CurrentProfile) -> list[str]:
    """Return the options with which ssh, scp and sftp find the node and trust it, and use no other key."""
    store = ProfileStore.from_environment(os.environ)
    user, host = store.user_directory(current.host, current.user), store.host_directory(current.host)
    settings = {
        "ProxyCommand": f"{program_text('msh')} proxy ssh --login=%r %h:%p",
        "IdentityFile": str(user / "key"),
        "CertificateFile": str(user / "key-cert.pub"),
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "UserKnownHostsFile": str(host / "known_hosts"),
        "GlobalKnownHostsFile": "none",
        "StrictHostKeyChecking": "yes",
        "PreferredAuthentications": "publickey",
        "ServerAliveInterval": "15",
    }
    options = ["-F", "none"]
    for name, value in settings.items():
        options += ["-o", f"{name}={value}"]
    return options


def run_client(program: str, arguments: Sequence[str]) -> int:
    """Run an OpenSSH program in the foreground and return its exit code (128 + number for a signal).

    :raises CliError: it is not installed.
    """
    path = shutil.which(program)
    if path is None:
        raise CliError(
            f"{program} is not installed", "", "install the OpenSSH client (Debian: openssh-client)"
        )
    # Ctrl-C is for the remote side: ssh has the terminal, and decides when this is over. A handler, unlike SIG_IGN, is
    # not inherited by ssh.
    previous = signal.signal(signal.SIGINT, lambda _number, _frame: None)
    try:
        code = subprocess.call([path, *arguments])
    finally:
        signal.signal(signal.SIGINT, previous)
    return 128 - code if code < 0 else code
