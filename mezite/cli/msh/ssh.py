# SPDX-License-Identifier: Apache-2.0
"""`msh ssh`: the stock OpenSSH client, told how to reach a node and whom to trust.

OpenSSH does terminals, forwarding and escapes better than anything we could write; what it lacks is the way to the
node, which `msh proxy ssh` is.
"""

from __future__ import annotations

import getpass
import shutil
import signal
import subprocess
from collections.abc import Sequence

import attrs
import click

from mezite.cli.hub_client.granted_access import warn_of_end
from mezite.cli.hub_client.profile_store import CurrentProfile
from mezite.cli.hub_client.ssh_settings import node_settings
from mezite.cli.hub_client.user_certificate import read_user_certificate
from mezite.cli.hub_client.user_session import current_profile
from mezite.cli.terminal.errors import EXIT_FAILED, EXIT_USAGE, CliError, run_command

__all__ = ["SshArguments", "choose_login", "client_options", "run_client", "split_arguments", "ssh"]

EXIT_NO_CONNECTION = 255

_FLAGS = ("-A", "-t", "-T", "-N", "-v", "-q", "-f", "-n", "-C", "-x", "-4", "-6")
_VALUES = ("-L", "-R", "-D", "-W", "-o", "-E")
_OWN = ("--login", "--mfa-code")


@attrs.frozen(kw_only=True)
class SshArguments:
    """What stands behind `msh ssh`."""

    options: tuple[str, ...]
    """For ssh itself."""
    login: str | None
    mfa_code: str | None
    node: str
    command: tuple[str, ...]


@click.command(
    help="Open a shell on a node, or run a command there. Options as in ssh; they come before the node.",
    # All but --help is for `split_arguments`: click would look for letters it knows inside `-L5432:localhost:5432`.
    context_settings={
        "ignore_unknown_options": True,
        "allow_interspersed_args": False,
        "help_option_names": ["--help"],
    },
)
@click.option("--login", metavar="LOGIN", help="The account on the node; also -l.")
@click.option("--mfa-code", metavar="CODE", help="Code of your authenticator app, where roles ask for it.")
@click.argument(
    "arguments", nargs=-1, type=click.UNPROCESSED, metavar="[SSH OPTIONS] [USER@]NODE [COMMAND]..."
)
def ssh(login: str | None, mfa_code: str | None, arguments: tuple[str, ...]) -> int:
    """Run ssh and return its exit code: the remote command's, or 255 when there was no connection."""
    asked = split_arguments(arguments)
    try:
        current, profile = current_profile()
        certificate = read_user_certificate(profile)
        chosen = choose_login(asked.login or login, certificate.principals)
        _show_code(asked.mfa_code or mfa_code, chosen, asked.node, current)
    except CliError as error:
        # As ssh itself: whatever keeps the connection from being made is 255.
        error.exit_code = EXIT_NO_CONNECTION if error.exit_code == EXIT_FAILED else error.exit_code
        raise
    warn_of_end(certificate)
    return run_client(
        "ssh", [*client_options(current), "-l", chosen, *asked.options, "--", asked.node, *asked.command]
    )


def _show_code(code: str | None, login: str, node: str, current: CurrentProfile) -> None:
    """Where nobody gives a code ahead, the node asks for it if it needs one."""
    if code:
        # Rarely wanted, and a third of the time that msh takes to start.
        from mezite.cli.msh.proof_ahead import ProofAhead, show_ahead  # noqa: PLC0415
        from mezite.core.names import node_name_in  # noqa: PLC0415

        target = f"{login}@{node_name_in(node, current.cluster)}"
        run_command(show_ahead, ProofAhead(targets=[target], code=code))


def split_arguments(arguments: Sequence[str]) -> SshArguments:
    """Tell ssh's options, ours, the destination and the command apart, as getopt(3) does.

    :raises CliError: no node, or an option that ssh has and that would undo what is set here.
    """
    options: list[str] = []
    own: dict[str, str] = {}
    rest = list(arguments)
    while rest and rest[0].startswith("-") and rest[0] != "-":
        argument = rest.pop(0)
        if argument == "--":
            break
        if argument.startswith("--"):
            name, equals, value = argument.partition("=")
            if name not in _OWN:
                raise _unknown(name)
            own[name] = value if equals else _value(name, rest)
        else:
            _take_letters(argument, rest, options, own)
    user, _, node = rest[0].rpartition("@") if rest else ("", "", "")
    if not node:
        raise CliError(
            "no node given",
            "",
            "msh ssh [USER@]NODE [COMMAND]; `msh ls` shows the nodes",
            exit_code=EXIT_USAGE,
        )
    return SshArguments(
        options=tuple(options),
        login=user or own.get("--login"),
        mfa_code=own.get("--mfa-code"),
        node=node,
        command=tuple(rest[1:]),
    )


def _take_letters(argument: str, rest: list[str], options: list[str], own: dict[str, str]) -> None:
    """Take `-t`, `-NL 8080:localhost:80` or `-L8080:localhost:80` apart."""
    letters = argument[1:]
    while letters:
        option, letters = f"-{letters[0]}", letters[1:]
        if option in _FLAGS:
            options.append(option)
        elif option in _VALUES or option == "-l":
            value = letters or _value(option, rest)
            letters = ""
            if option == "-l":
                own["--login"] = value
            else:
                options += [option, value]
        else:
            raise _unknown(option)


def _value(option: str, rest: list[str]) -> str:
    if not rest:
        raise CliError(f"{option} needs a value", "", "see ssh(1)", exit_code=EXIT_USAGE)
    return rest.pop(0)


def _unknown(option: str) -> CliError:
    return CliError(
        f"unknown option {option}",
        f"known are {' '.join((*_FLAGS, *_VALUES, '-l', *_OWN))}",
        "for more use `msh config` with ssh itself",
        exit_code=EXIT_USAGE,
    )


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
    settings = {
        **node_settings(current),
        # The second is for the factor that a role may ask for after the certificate.
        "PreferredAuthentications": "publickey,keyboard-interactive",
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
