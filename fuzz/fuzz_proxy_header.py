# SPDX-License-Identifier: Apache-2.0
"""Claim: bytes are a PROXY header, payload, or refused; an accepted header has both addresses exactly when it
names a family; whole and byte by byte give the same answer; and what was accepted is written back to a header that
means the same.

Allowed exceptions: RemoteProtocolError.
"""

from mezite.core.errors import RemoteProtocolError
from mezite.core.proxy_protocol import v1, v2
from mezite.core.proxy_protocol.header import AddressFamily, Command, ProxyHeader
from mezite.core.proxy_protocol.reader import NEED_DATA, HeaderReader


def check(data: bytes) -> None:
    """``data`` is what a connection begins with."""
    whole = answer(data, len(data) or 1)
    assert whole == answer(data, 1)
    if isinstance(whole, ProxyHeader):
        assert (whole.source is None) == (whole.family is AddressFamily.UNSPECIFIED)
        assert (whole.source is None) == (whole.destination is None)
        if whole.version == 1:
            assert v1.parse(v1.serialize(whole)) == whole
        elif whole.command is Command.PROXY and whole.source is not None:
            assert v2.parse(v2.serialize(whole)) == whole or whole.tlvs


def answer(data: bytes, step: int) -> object:
    reader = HeaderReader()
    result: object = NEED_DATA
    for start in range(0, len(data), step):
        reader.receive_data(data[start : start + step])
        try:
            result = reader.next_event()
        except RemoteProtocolError as error:
            return str(error)
    return result
