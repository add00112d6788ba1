# SPDX-License-Identifier: Apache-2.0
"""Failures as users see them: one line, an exit code, no traceback.

Exit codes: 0 success; 1 the operation failed; 2 wrong usage or invalid configuration; 130 interrupted. A
command may return an integer of its own: ``msh ssh`` ends with the remote command's status.
"""

from __future__ import annotations

import os
import select
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import attrs
import click
from click.shell_completion import shell_complete

from mezite.cli.terminal.escapes import escape_controls
from mezite.core.errors import ExplainedError

__all__ = [
    "EXIT_FAILED",
    "EXIT_INTERRUPTED",
    "EXIT_OK",
    "EXIT_USAGE",
    "CliError",
    "ProgramState",
    "first_cause",
    "run_command",
    "run_program",
]

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

_T = TypeVar("_T")


class CliError(ExplainedError):
    """An operation that failed for a reason the user can understand.

    Shown as ``error: what: why; hint``. Each part may hold text from a peer: it is escaped when shown (H1).
    """

    def __init__(
        self,
        what: str,
        why: str = "",
        hint: str = "",
        *,
        exit_code: int = EXIT_FAILED,
        details: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(what, why, hint)
        self.exit_code = exit_code
        self.details: Mapping[str, object] = details or {}
        """What the hub said for programs: a `code` and what belongs to it."""


@attrs.define(eq=False)
class ProgramState:
    """What the options in front of the command said; click hands it to every command as ``obj``."""

    debug: bool = False


def run_command(async_function: Callable[..., Awaitable[_T]], *args: Any) -> _T:
    """Run ``async_function(*args)`` under Trio and return what it returns.

    A group of exceptions that holds one cause is replaced by the cause (P4), so that callers and
    :func:`run_program` see the failure itself however many nurseries it passed.

    :raises KeyboardInterrupt: the user pressed Ctrl-C; Trio has cancelled everything by then.
    """
    import trio  # noqa: PLC0415 - 160 ms that `--version` and `--help` need not pay

    try:
        return trio.run(async_function, *args)
    except BaseExceptionGroup as group:
        cause = _single_cause(group)
        if cause is None:
            raise
        # The group is noise, the cause keeps its own traceback.
        raise cause from cause.__cause__


def _single_cause(group: BaseExceptionGroup[BaseException]) -> BaseException | None:
    leaves = list(_leaves(group))
    if any(isinstance(leaf, KeyboardInterrupt) for leaf in leaves):
        return KeyboardInterrupt()
    return leaves[0] if len(leaves) == 1 else None


def first_cause(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """Return the first exception in a group that is none itself: a group's own text says nothing (P4)."""
    return next(_leaves(group))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for member in error.exceptions:
            yield from _leaves(member)
    else:
        yield error


def run_program(
    group: click.Command,
    program: str,
    argv: Sequence[str] | None = None,
    *,
    state: ProgramState | None = None,
) -> int:
    """Run one of the four programs and return its exit code; the only place that prints failures.

    :param argv: without the program's name; None for ``sys.argv``.
    """
    state = ProgramState(debug=bool(os.environ.get("MEZITE_DEBUG"))) if state is None else state
    variable = f"_{program.upper()}_COMPLETE"
    if os.environ.get(variable):
        return shell_complete(group, {}, program, variable, os.environ[variable])
    try:
        result = _invoke(group, program, sys.argv[1:] if argv is None else list(argv), state)
        sys.stdout.flush()
    except (KeyboardInterrupt, click.Abort):
        return EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last wall: whatever it is becomes a line and an exit code
        return EXIT_OK if isinstance(error, BrokenPipeError) and _reader_left() else _report(error, state)
    return result if isinstance(result, int) else EXIT_OK


def _invoke(group: click.Command, program: str, argv: list[str], state: ProgramState) -> object:
    """Do what ``click.Command.main`` does, which would take a hub's EPIPE for a closed stdout."""
    try:
        with group.make_context(program, argv, obj=state) as context:
            return group.invoke(context)
    except click.exceptions.Exit as finished:
        return finished.exit_code


def _reader_left() -> bool:
    """Whether whoever reads our output has seen enough, as in ``mezctl audit ls | head``: no failure."""
    poll = select.poll()
    poll.register(sys.stdout.fileno(), select.POLLOUT)
    if not any(event & select.POLLERR for _, event in poll.poll(0)):
        return False
    # The interpreter flushes stdout once more at exit and would print a traceback there.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True


def _report(error: Exception, state: ProgramState) -> int:
    if isinstance(error, click.exceptions.NoArgsIsHelpError) and error.ctx is not None:
        print(error.ctx.get_help(), file=sys.stderr)
        return EXIT_USAGE
    if state.debug:
        traceback.print_exception(error)
    code = EXIT_OK
    for leaf in _leaves(error):
        lines, leaf_code = _describe(leaf, debug=state.debug)
        code = max(code, leaf_code)
        for line in lines:
            print(f"error: {escape_controls(line)}", file=sys.stderr)
    return code


def _describe(error: BaseException, *, debug: bool) -> tuple[list[str], int]:
    from mezite.config.problems import ConfigProblems  # noqa: PLC0415 - only on the way out

    if isinstance(error, click.UsageError):
        return [_usage(error)], EXIT_USAGE
    if isinstance(error, click.ClickException):
        return [error.format_message()], EXIT_FAILED
    if isinstance(error, ConfigProblems):
        return [str(problem) for problem in error.problems], EXIT_USAGE
    if isinstance(error, ExplainedError):
        return [str(error)], getattr(error, "exit_code", EXIT_FAILED)
    if isinstance(error, OSError):
        subject = str(error.filename) if error.filename is not None else "operation failed"
        return [f"{subject}: {error.strerror or error}"], EXIT_FAILED
    text = f"internal error: {type(error).__name__}: {error}"
    return [text if debug else f"{text}; run again with --debug for the details"], EXIT_FAILED


def _usage(error: click.UsageError) -> str:
    message = error.format_message().rstrip(".")
    message = message[:1].lower() + message[1:] if message[1:2].islower() else message
    if error.ctx is None:
        return message
    return f"{message}; see {error.ctx.command_path} --help"
