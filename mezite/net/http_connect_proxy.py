# SPDX-License-Identifier: Apache-2.0
"""A connection through an HTTP proxy."""

from __future__ import annotations

import trio

from mezite.core.errors import LocalProtocolError, RemoteProtocolError
from mezite.core.http_connect import ConnectAnswer, HttpConnect
from mezite.core.outbound_proxy import HttpProxy

from .addresses import join_host_port
from .byte_streams import PushbackStream
from .dialer import DialError, dial

__all__ = ["dial_through_proxy"]

#: Bytes per read of the answer.
READ_BYTES = 4096


async def dial_through_proxy(
    proxy: HttpProxy, host: str, port: int, *, deadline_seconds: float = 15
) -> trio.abc.HalfCloseableStream:
    """Connect to ``host:port`` by way of ``proxy``, which looks the name up.

    The deadline is for reaching the proxy, and once more for its answer: it has a connection of its own to make.
    Raises :exc:`DialError`, which names the proxy and what it said.
    """
    shown = join_host_port(host, port)
    what = f"cannot connect to {shown} through the proxy {proxy.address}"
    try:
        stream = await dial(proxy.address, proxy.port, deadline_seconds=deadline_seconds)
    except DialError as error:
        raise DialError(what, error.why, f"{error.hint}; the proxy is set in HTTPS_PROXY") from error
    try:
        request = HttpConnect(host, port, authorization=proxy.authorization)
        with trio.fail_after(deadline_seconds):
            await stream.send_all(request.data_to_send())
            while (answer := request.answer) is None:
                request.receive_data(await stream.receive_some(READ_BYTES))
        if not answer.accepted:
            raise DialError(what, str(answer), refusal_hint(answer, proxy, host))
    except BaseException as error:
        await trio.aclose_forcefully(stream)
        if isinstance(
            error, RemoteProtocolError | LocalProtocolError | trio.BrokenResourceError | trio.TooSlowError
        ):
            why = str(error) or f"no answer after {deadline_seconds:g} s"
            raise DialError(
                what, why, "check that HTTPS_PROXY names an HTTP proxy that allows CONNECT"
            ) from error
        raise
    rest = request.trailing_data()
    return PushbackStream(stream, rest) if rest else stream


def refusal_hint(answer: ConnectAnswer, proxy: HttpProxy, host: str) -> str:
    """What the user can do about an answer that is no acceptance."""
    if answer.status in (401, 407):  # 401 is what tinyproxy says of a wrong password
        return f"{'set' if proxy.credentials is None else 'check'} the user and password in HTTPS_PROXY"
    if answer.status in (500, 502, 503, 504):  # 500 is what tinyproxy says
        return (
            f"the proxy cannot reach {host}: check the address, or name it in NO_PROXY to go there directly"
        )
    if answer.status in (400, 403, 404, 405, 501):
        return (
            f"ask who runs the proxy to allow CONNECT there, or name {host} in NO_PROXY to go there directly"
        )
    return "check that HTTPS_PROXY names an HTTP proxy that allows CONNECT"
