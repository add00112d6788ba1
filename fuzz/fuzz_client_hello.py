# SPDX-License-Identifier: Apache-2.0
"""Claim: a ClientHello is read the same whole, byte by byte, and cut anywhere; the answer repeats, and after
MAX_HELLO_BYTES there is one. What follows the message changes nothing.

Allowed exceptions: RemoteProtocolError.
"""

from mezite.core.client_hello import MAX_HELLO_BYTES, NEED_DATA, ClientHello, ClientHelloReader, NeedData
from mezite.core.errors import RemoteProtocolError

Answer = ClientHello | NeedData | str


def answer(reader: ClientHelloReader) -> Answer:
    try:
        return reader.next_event()
    except RemoteProtocolError as error:
        return str(error)


def read(*pieces: bytes) -> Answer:
    """What a reader says in the end, looked at after every piece."""
    reader = ClientHelloReader()
    for piece in pieces:
        reader.receive_data(piece)
        if answer(reader) is not NEED_DATA:
            break
    last = answer(reader)
    assert answer(reader) == last
    return last


def check(data: bytes) -> None:
    """``data`` is what a client sends first; its first byte also says where to cut."""
    whole = read(data)
    cut = data[0] * len(data) // 256 if data else 0
    assert read(data[:cut], data[cut:]) == whole
    if len(data) <= 2048:
        assert read(*(data[at : at + 1] for at in range(len(data)))) == whole
    if len(data) > MAX_HELLO_BYTES:
        assert whole is not NEED_DATA
    if isinstance(whole, ClientHello):
        assert read(data + b"\x14\x03\x03\x00\x01\x01") == whole
        assert all(whole.alpn)
