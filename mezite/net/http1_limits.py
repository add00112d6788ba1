# SPDX-License-Identifier: Apache-2.0
"""What an HTTP/1 client may cost (threats D14, D15), and how a server says goodbye."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import attrs
import trio

__all__ = ["DrainSignal", "HostRules", "Http1Limits", "RulesOf"]


@attrs.frozen(kw_only=True)
class Http1Limits:
    """Limits of one connection. Seconds and bytes."""

    header_seconds: float = 10.0
    """from the first byte of a request to the end of its head, and for the first request of a connection from
    its beginning; a browser sends both in one packet"""
    idle_seconds: float = 60.0
    """how long a kept connection may wait for its next request; as nginx (75) and balancers (60) do"""
    body_bytes: int = 1024 * 1024
    """largest request body; the API takes JSON, the largest being a role"""
    body_rate: float = 1024.0
    """bytes a second that a body must come with, on average over the time we wait for it"""
    body_grace_seconds: float = 10.0
    """waiting that is free before the rate is held against a body"""
    write_stall_seconds: float = 15.0
    """how long one write of at most 64 KiB may wait for the client, and the waiting of a connection that is free
    before the rate is held against it"""
    write_rate: float = 1024.0
    """bytes a second that a client must take, on average over the time we wait for it: one that takes a byte now and
    then would otherwise hold its connection for ever"""
    max_requests: int = 1000
    """requests on one connection, then it is closed: whatever a long life accumulates ends with it"""
    linger_seconds: float = 2.0
    """after the last response the client's unread bytes are taken for so long: closing a socket that holds
    unread data makes the kernel send a reset, which destroys the response on its way (RFC 9112 sec. 9.6)"""


@attrs.frozen(kw_only=True)
class HostRules:
    """What holds for requests to one host, once their head is read."""

    limits: Http1Limits = attrs.field(factory=Http1Limits)
    """of the body and the response"""
    patient: Http1Limits | None = None
    """What holds instead once the application knows whom it serves and asks for it (`http1_request.PATIENCE`); None:
    it cannot."""
    plain_paths: bool = True
    """whether a path that can be read in two ways is refused (threat D8); an application's own business otherwise,
    except for dot segments and control bytes"""


RulesOf = Callable[[bytes], HostRules]
"""The rules for a Host field, which has passed the gate."""


class DrainSignal:
    """Tells connections to end after their current request, and idle ones to end at once."""

    def __init__(self) -> None:
        self.started = False
        self._idle: dict[trio.CancelScope, None] = {}

    def start(self) -> None:
        """From now on no connection is kept."""
        self.started = True
        for scope in self._idle:
            scope.cancel()

    @contextmanager
    def idle(self) -> Iterator[trio.CancelScope]:
        """A scope around waiting for a next request; cancelled when draining starts."""
        with trio.CancelScope() as scope:
            self._idle[scope] = None
            try:
                if self.started:
                    scope.cancel()
                yield scope
            finally:
                del self._idle[scope]
