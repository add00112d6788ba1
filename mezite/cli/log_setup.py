# SPDX-License-Identifier: Apache-2.0
"""The one place that configures logging.

Everything else uses ``logging.getLogger("mezite.<area>")`` and hands values over in ``extra``, never pasted
into the message. Here they become text on a terminal or JSON lines elsewhere, without secrets (H6) and
without a flood of the same line (P15).
"""

from __future__ import annotations

import logging
import re
import sys
import time
from collections.abc import Callable, MutableMapping
from typing import Any, TextIO

import attrs
import structlog

from mezite.cli.terminal.escapes import escape_controls
from mezite.core.secret import REDACTED, Secret

__all__ = ["RepeatLimiter", "configure_logging", "redact"]

# Fields whose value is a secret whoever logged it. Compared after lower-casing, as parts of the field's name.
_SECRET_FIELDS = (
    "password",
    "passphrase",
    "secret",
    "token",
    "authorization",
    "cookie",
    "private_key",
    "totp",
)

# Secrets that may stand inside a message or an exception's text: join tokens, bearer credentials, passwords
# in URLs, private keys.
_SECRET_TEXT = re.compile(
    r"mzt_[A-Za-z0-9_-]{4,}(?:\.[0-9a-f]+)?"
    r"|(?<=[Bb]earer )\S+"
    r"|(?<=://)[^/\s:@]+:[^/\s@]+(?=@)"
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)"
)

# The only fields with lines of their own: tracebacks.
_MULTILINE = frozenset({"exception", "stack"})

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def redact(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Replace secrets in one event; a structlog processor."""
    for name, value in event.items():
        if isinstance(value, Secret) or any(part in name.lower() for part in _SECRET_FIELDS):
            event[name] = REDACTED
        elif isinstance(value, str):
            event[name] = _SECRET_TEXT.sub(REDACTED, value)
    return event


def _escape(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Keep what peers sent from steering the operator's terminal (H1); JSON escapes by itself."""
    for name, value in event.items():
        if isinstance(value, str):
            lines = value.split("\n") if name in _MULTILINE else [value]
            event[name] = "\n".join(escape_controls(line) for line in lines)
    return event


@attrs.define(eq=False)
class _Window:
    opened: float
    seen: int = 0


class RepeatLimiter(logging.Filter):
    """Let a message pass ``limit`` times in ``period`` seconds; then count, and say the count in the next
    window.

    Messages are told apart by logger, level and the line of code that logs, so that a peer that varies what it
    sends gains nothing, not even where a library pastes it into the message. The table holds at most ``max_lines``
    entries: lines are few, but a bound costs nothing.
    """

    def __init__(
        self,
        *,
        limit: int = 20,
        period: float = 10.0,
        max_lines: int = 1000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._limit = limit
        self._period = period
        self._max_lines = max_lines
        self._clock = clock
        self._windows: dict[tuple[str, int, str, int], _Window] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return whether ``record`` is written; the first of a new window says how many were not."""
        if record.levelno >= logging.CRITICAL:
            return True
        key = (record.name, record.levelno, record.pathname, record.lineno)
        now = self._clock()
        window = self._windows.get(key)
        if window is None or now - window.opened >= self._period:
            suppressed = 0 if window is None else window.seen - self._limit
            if suppressed > 0:
                record.suppressed = suppressed
            if len(self._windows) >= self._max_lines:
                self._windows.clear()
            window = self._windows[key] = _Window(now)
        window.seen += 1
        return window.seen <= self._limit


def configure_logging(level: str = "info", form: str = "auto", *, file: TextIO | None = None) -> None:
    """Send all log records to ``file`` (stderr). May be called again, as SIGHUP does: the last call holds.

    :param level: debug, info, warning or error.
    :param form: text, json, or auto: text if ``file`` is a terminal.
    """
    out = file if file is not None else sys.stderr
    as_text = form == "text" or (form == "auto" and out.isatty())
    handler = logging.StreamHandler(out)
    handler.setFormatter(_formatter(as_text=as_text, colours=out.isatty()))
    handler.addFilter(RepeatLimiter())
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(LEVELS[level])
    # alembic tells its life story at INFO; paramiko and hpack log what peers send at DEBUG, header values too (H6).
    for library in ("alembic", "paramiko", "hpack", "hypercorn", "h2", "sqlalchemy", "httpcore"):
        logging.getLogger(library).setLevel(max(LEVELS[level], logging.WARNING))


def _formatter(*, as_text: bool, colours: bool) -> logging.Formatter:
    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.stdlib.ExtraAdder(),
        structlog.processors.format_exc_info,
        redact,
    ]
    renderer: structlog.types.Processor
    if as_text:
        shared.append(_escape)
        renderer = structlog.dev.ConsoleRenderer(colors=colours)
    else:
        renderer = structlog.processors.JSONRenderer(default=str)
    return structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
