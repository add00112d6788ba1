# SPDX-License-Identifier: Apache-2.0
"""Passwords by option, standard input, environment and prompt."""

import os
import pty
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from mezite.cli.terminal.errors import CliError
from mezite.cli.terminal.prompts import ask_password, password_options


@click.command()
@password_options
def show(password, password_stdin):
    click.echo(ask_password("Password", password, from_stdin=password_stdin).reveal())


def invoke(*words, stdin="", env=None):
    return CliRunner().invoke(show, words, input=stdin, env={"MEZITE_PASSWORD": None, **(env or {})})


def test_by_option():
    assert invoke("--password=a b").output == "a b\n"


@pytest.mark.parametrize("stdin", ["secret\n", "secret", "secret\r\n", "secret\nmore\n"])
def test_by_standard_input(stdin):
    assert invoke("--password-stdin", stdin=stdin).output == "secret\n"


def test_by_environment():
    assert invoke(env={"MEZITE_PASSWORD": "from-env"}).output == "from-env\n"
    assert invoke("--password=x", env={"MEZITE_PASSWORD": "from-env"}).output == "x\n"


@pytest.mark.parametrize(
    ("words", "stdin", "what"),
    [
        (["--password=a", "--password-stdin"], "b", "exclude each other"),
        (["--password="], "", "the password is empty"),
        (["--password-stdin"], "\n", "the password is empty"),
        ([], "", "no password"),
    ],
)
def test_refused(words, stdin, what):
    error = invoke(*words, stdin=stdin).exception
    assert isinstance(error, CliError)
    assert what in error.what
    assert error.exit_code == 2


PROGRAM = """
from mezite.cli.terminal.prompts import ask_password, confirm_new_password
print("got", ask_password("Password", None, from_stdin=False, environ={}).reveal())
print("got", confirm_new_password("New password").reveal())
"""


def test_a_prompt_does_not_echo():
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        stdin=follower,
        stdout=subprocess.PIPE,
        stderr=follower,
        start_new_session=True,
    )
    os.close(follower)
    seen = b""
    for prompt, answer in (
        (b"Password: ", b"first\n"),
        (b"New password: ", b"second\n"),
        (b"confirmation: ", b"second\n"),
    ):
        while not seen.endswith(prompt):
            seen += os.read(leader, 1)
        os.write(leader, answer)
    out, _ = process.communicate(timeout=30)
    os.close(leader)
    assert out == b"got first\ngot second\n"
    assert b"first" not in seen
