# SPDX-License-Identifier: Apache-2.0
"""Logs: form, secrets, floods."""

import io
import json
import logging

import pytest

from mezite.cli.log_setup import RepeatLimiter, configure_logging
from mezite.core.secret import Secret

log = logging.getLogger("mezite.test")


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def _restore():
    root = logging.getLogger()
    before = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = before


def json_lines(out):
    return [json.loads(line) for line in out.getvalue().splitlines()]


def test_json_is_one_object_a_line():
    out = io.StringIO()
    configure_logging("info", "auto", file=out)
    log.debug("not this")
    log.info("hub ready on %s", "127.0.0.1:3080", extra={"listener": "web"})
    (line,) = json_lines(out)
    assert line["event"] == "hub ready on 127.0.0.1:3080"
    assert (line["level"], line["logger"], line["listener"]) == ("info", "mezite.test", "web")
    assert line["timestamp"].endswith("Z")


def test_a_terminal_gets_text():
    out = Terminal()
    configure_logging("debug", "auto", file=out)
    log.debug("one")
    assert "one" in out.getvalue()
    assert "{" not in out.getvalue()


def test_the_last_configuration_holds():
    first, second = io.StringIO(), io.StringIO()
    configure_logging("info", "json", file=first)
    configure_logging("warning", "json", file=second)
    log.info("nowhere")
    log.warning("here")
    assert first.getvalue() == ""
    assert [line["event"] for line in json_lines(second)] == ["here"]


def test_tracebacks_are_part_of_the_record():
    out = io.StringIO()
    configure_logging("info", "json", file=out)
    try:
        raise ValueError("mzt_abcdefgh.00ff")
    except ValueError:
        log.exception("failed")
    (line,) = json_lines(out)
    assert "Traceback" in line["exception"]
    assert "mzt_" not in line["exception"]


CANARY = "canary-5a1f"


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize(
    ("message", "extra"),
    [
        (f"joining with mzt_{CANARY}.00aa", {}),
        (f"Authorization: Bearer {CANARY}", {}),
        (f"connecting to postgres://mezite:{CANARY}@db/mezite", {}),
        (f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----", {}),
        (f"-----BEGIN OPENSSH PRIVATE KEY-----\n{CANARY}", {}),
        ("login", {"password": CANARY}),
        ("login", {"session_token": CANARY}),
        ("login", {"Set-Cookie": CANARY}),
        ("login", {"anything": Secret(CANARY)}),
        ("login %s", {"args": (Secret(CANARY),)}),
    ],
)
def test_secrets_do_not_reach_the_log(form, message, extra):
    """H6, P27, T19."""
    out = io.StringIO()
    configure_logging("debug", form, file=out)
    fields = {name: value for name, value in extra.items() if name != "args"}
    log.info(message, *extra.get("args", ()), extra=fields)
    assert CANARY not in out.getvalue()
    assert "[redacted]" in out.getvalue()


def test_text_from_a_peer_cannot_steer_the_terminal():
    """H1."""
    out = io.StringIO()
    configure_logging("info", "text", file=out)
    try:
        raise ValueError("\x1b[2J")
    except ValueError:
        log.exception("name %s", "a\x1b]0;x\x07\nfake line", extra={"user": "\x9b2J"})
    assert "\x1b" not in out.getvalue()
    assert "\x9b" not in out.getvalue()
    assert "\nfake line" not in out.getvalue()


def test_libraries_that_log_what_peers_send_are_quiet():
    """H6: hpack logged header values at DEBUG."""
    out = io.StringIO()
    configure_logging("debug", "json", file=out)
    logging.getLogger("hpack.hpack").debug("authorization: x")
    logging.getLogger("paramiko.transport").info("x")
    assert out.getvalue() == ""


def record(message, level=logging.WARNING, name="mezite.a", line=1):
    return logging.LogRecord(name, level, __file__, line, message, ("x",), None)


def test_a_repeated_message_is_counted_instead_of_written():
    """P15."""
    now = [0.0]
    limiter = RepeatLimiter(limit=3, period=10, clock=lambda: now[0])
    assert [limiter.filter(record("refused %s")) for _ in range(5)] == [True, True, True, False, False]
    assert limiter.filter(record("another %s", line=2))
    assert limiter.filter(record("refused %s", level=logging.ERROR))
    assert limiter.filter(record("refused %s", name="mezite.b"))
    now[0] = 10.0
    first = record("refused %s")
    assert limiter.filter(first)
    assert first.suppressed == 2
    second = record("refused %s")
    assert limiter.filter(second)
    assert not hasattr(second, "suppressed")


def test_a_message_that_carries_what_a_peer_sent_is_still_the_same_message():
    """P15: libraries paste it in; else each of them would have a budget of its own."""
    limiter = RepeatLimiter(limit=3, clock=lambda: 0.0)
    assert [limiter.filter(record(f"type {kind}: %s")) for kind in range(5)] == [True] * 3 + [False] * 2


def test_a_quiet_window_has_nothing_to_report():
    now = [0.0]
    limiter = RepeatLimiter(limit=3, period=10, clock=lambda: now[0])
    limiter.filter(record("x %s"))
    now[0] = 20.0
    later = record("x %s")
    assert limiter.filter(later)
    assert not hasattr(later, "suppressed")


def test_critical_messages_always_pass_and_the_table_is_bounded():
    limiter = RepeatLimiter(limit=1, max_lines=4, clock=lambda: 0.0)
    assert all(limiter.filter(record("x %s", level=logging.CRITICAL)) for _ in range(5))
    assert all(limiter.filter(record("x %s", line=n)) for n in range(50))
    assert len(limiter._windows) <= 4
