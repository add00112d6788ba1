# SPDX-License-Identifier: Apache-2.0
"""What users see when something fails, and the exit codes of the contract."""

import subprocess
import sys

import click
import pytest
import trio

from mezite.cli.terminal.errors import CliError, ProgramState, run_command, run_program
from mezite.config.problems import ConfigProblems, Problem
from mezite.core.errors import ExplainedError


def run(function, *argv, debug=False):
    return run_program(
        click.Command("thing", callback=function), "thing", argv, state=ProgramState(debug=debug)
    )


def raiser(error):
    def function():
        raise error

    return function


@pytest.mark.parametrize(
    ("error", "line", "code"),
    [
        (CliError("cannot log in"), "error: cannot log in", 1),
        (CliError("cannot log in", "wrong password"), "error: cannot log in: wrong password", 1),
        (
            CliError("cannot log in", "no hub", "check --proxy"),
            "error: cannot log in: no hub; check --proxy",
            1,
        ),
        (CliError("bad", hint="try x", exit_code=2), "error: bad; try x", 2),
        (click.UsageError("No such thing."), "error: no such thing; see thing --help", 2),
        (click.ClickException("Nope"), "error: Nope", 1),
        (FileNotFoundError(2, "No such file or directory", "/x"), "error: /x: No such file or directory", 1),
        (ConnectionRefusedError(111, "Connection refused"), "error: operation failed: Connection refused", 1),
        (OSError("odd"), "error: operation failed: odd", 1),
        (ValueError("x"), "error: internal error: ValueError: x; run again with --debug for the details", 1),
    ],
)
def test_one_line_and_an_exit_code(capsys, error, line, code):
    assert run(raiser(error)) == code
    assert capsys.readouterr().err == line + "\n"


def test_errors_of_lower_layers_speak_for_themselves(capsys):
    unreachable = ExplainedError("cannot reach hub:3024", "connection refused", "is the hub running?")
    assert run(raiser(unreachable)) == 1
    assert (
        capsys.readouterr().err == "error: cannot reach hub:3024: connection refused; is the hub running?\n"
    )


def test_every_configuration_problem_has_its_line(capsys):
    problems = [
        Problem(file="f", line=2, key="a", why="b", hint="c"),
        Problem(file="environment", key="X", why="y"),
    ]
    assert run(raiser(ConfigProblems(problems))) == 2
    assert capsys.readouterr().err == "error: f:2: a: b; c\nerror: environment: X: y\n"


def test_text_from_a_peer_cannot_steer_the_terminal(capsys):
    """H1."""
    run(raiser(CliError("refused", "\x1b]0;owned\x07\nerror: fake")))
    assert capsys.readouterr().err == "error: refused: \\x1b]0;owned\\x07\\nerror: fake\n"


def test_debug_shows_the_traceback(capsys):
    assert run(raiser(ValueError("x")), debug=True) == 1
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.endswith("error: internal error: ValueError: x\n")


def test_a_group_shows_every_cause(capsys):
    """P4."""
    group = ExceptionGroup("", [CliError("one"), ExceptionGroup("", [CliError("two", exit_code=2)])])
    assert run(raiser(group)) == 2
    assert capsys.readouterr().err == "error: one\nerror: two\n"


def test_interrupted(capsys):
    assert run(raiser(KeyboardInterrupt())) == 130
    assert run(raiser(click.Abort())) == 130
    assert "error" not in capsys.readouterr().err


def test_the_result_of_a_command_is_the_exit_code():
    assert run(lambda: 7) == 7
    assert run(lambda: None) == 0
    assert run(lambda: "text") == 0


def test_usage_errors_point_at_the_help(capsys):
    assert run(lambda: None, "--nonsense") == 2
    assert capsys.readouterr().err == "error: no such option '--nonsense'; see thing --help\n"


def test_a_reader_that_has_seen_enough_is_no_failure():
    program = "import click, sys; from mezite.cli.terminal.errors import run_program\n"
    program += "sys.exit(run_program(click.Command('x', callback=lambda: print('y' * 10_000_000)), 'x', []))"
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout.read(1) == b"y"
    process.stdout.close()
    with process.stderr:
        assert process.stderr.read() == b""
    assert process.wait(30) == 0


def test_a_broken_connection_is_not_taken_for_a_closed_stdout(capfd):
    assert run(raiser(BrokenPipeError(32, "Broken pipe"))) == 1
    assert capfd.readouterr().err == "error: operation failed: Broken pipe\n"


def test_a_usage_error_without_a_command_stands_alone(capsys):
    assert run(raiser(click.UsageError("bad"))) == 2
    group = click.Group("group", commands=[click.Command("thing")])
    assert run_program(group, "group", []) == 2
    assert "Usage: group" in capsys.readouterr().err


def test_run_command_returns_the_result():
    async def double(number):
        await trio.lowlevel.checkpoint()
        return number * 2

    assert run_command(double, 21) == 42


def test_run_command_unwraps_the_one_cause():
    """P4: however many nurseries it passed."""

    async def fail():
        async with trio.open_nursery() as outer, trio.open_nursery() as inner:
            inner.start_soon(trio.sleep_forever)
            outer.start_soon(raise_in_task)

    async def raise_in_task():
        await trio.lowlevel.checkpoint()
        raise CliError("the cause")

    with pytest.raises(CliError, match="the cause"):
        run_command(fail)


def test_run_command_keeps_several_causes():
    async def fail():
        raise ExceptionGroup("two", [CliError("one"), CliError("two")])

    with pytest.raises(ExceptionGroup, match="two"):
        run_command(fail)


def test_run_command_turns_an_interrupt_among_others_into_an_interrupt():
    async def fail():
        raise BaseExceptionGroup("", [CliError("one"), KeyboardInterrupt()])

    with pytest.raises(KeyboardInterrupt):
        run_command(fail)
