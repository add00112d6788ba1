# SPDX-License-Identifier: Apache-2.0
"""What attackers send to a proxy so that the server behind it sees something else (threats D1 to D8, D10, D13).

Each payload is everything that a client sends on one connection. Its target is ``/p/NAME`` where the attack leaves it
one. Inside, ``SMUGGLED`` is a request that nobody may ever see as one without its having been let through.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product

__all__ = ["PAYLOADS", "SENTINEL", "SMUGGLED", "UNFINISHED"]

UNFINISHED = {"chunk overflow", "chunk wraps to 1"}
"""Good so far, with petabytes to come: their client goes away."""

HOST = b"Host: wiki.apps.example\r\n"
SMUGGLED = (
    b"GET /smuggled HTTP/1.1\r\n"
    + HOST
    + b"X-Mezite-User: root\r\nMezite-Jwt-Assertion: tok-0\r\nX-Mezite-Roles: admin\r\n\r\n"
)
SENTINEL = b"GET /sentinel HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"

RESERVED = (
    "X-Mezite-User",
    "X-Mezite-Roles",
    "Mezite-Jwt-Assertion",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "X-Forwarded-Proto",
)


def post(extra: bytes, body: bytes) -> bytes:
    return b"POST /p HTTP/1.1\r\n" + HOST + extra + b"\r\n" + body


def get(extra: bytes) -> bytes:
    return b"GET /p HTTP/1.1\r\n" + HOST + extra + b"\r\n"


def framing() -> Iterator[tuple[str, bytes]]:
    """Two ways to tell where a message ends (D1, D2)."""
    inner, chunked = SMUGGLED, b"0\r\n\r\n" + SMUGGLED
    told = b"Content-Length: %d\r\n" % len(chunked)
    for name, coding in {
        "both": b"Transfer-Encoding: chunked\r\n",
        "x": b"Transfer-Encoding: xchunked\r\n",
        "space before colon": b"Transfer-Encoding : chunked\r\n",
        "tab before colon": b"Transfer-Encoding\t: chunked\r\n",
        "underscore": b"Transfer_Encoding: chunked\r\n",
        "dot": b"Transfer.Encoding: chunked\r\n",
        "vertical tab": b"Transfer-Encoding: \x0bchunked\r\n",
        "form feed": b"Transfer-Encoding: chunked\x0c\r\n",
        "next line": b"Transfer-Encoding: \x85chunked\r\n",
        "hard space": b"Transfer-Encoding:\xa0chunked\r\n",
        "nul": b"Transfer-Encoding: chunked\x00\r\n",
        "folded": b"Transfer-Encoding:\r\n chunked\r\n",
        "folded away": b"X: y\r\n Transfer-Encoding: chunked\r\n",
        "quoted": b'Transfer-Encoding: "chunked"\r\n',
        "twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
        "identity first": b"Transfer-Encoding: identity, chunked\r\n",
        "chunked first": b"Transfer-Encoding: chunked, identity\r\n",
        "gzip": b"Transfer-Encoding: gzip, chunked\r\n",
        "comma": b"Transfer-Encoding: chunked,\r\n",
        "parameter": b"Transfer-Encoding: chunked;q=1\r\n",
        "bare lf before": b"X: y\nTransfer-Encoding: chunked\r\n",
        "bare cr before": b"X: y\rTransfer-Encoding: chunked\r\n",
        "capitals": b"TRANSFER-ENCODING: CHUNKED\r\n",
        "hop by hop": b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n",
        "length is hop by hop": b"Connection: Content-Length\r\n",
        "alone in 1.0": b"Transfer-Encoding: chunked\r\n",
    }.items():
        head = told + coding
        data = post(head, chunked)
        if name == "alone in 1.0":
            data = data.replace(told, b"").replace(b"HTTP/1.1", b"HTTP/1.0", 1)
        yield f"te {name}", data
        yield f"te {name}, no length", post(coding, chunked) if name != "alone in 1.0" else post(b"", inner)
    size = len(inner)
    for name, length in {
        "plus": b"+%d" % size,
        "minus": b"-%d" % size,
        "hexadecimal": b"0x%x" % size,
        "underscore": b"0_%d" % size,
        "decimals": b"%d.0" % size,
        "exponent": b"1e2",
        "list": b"%d, %d" % (size, size),
        "two in a list": b"0, %d" % size,
        "space inside": b"1 %d" % size,
        "trailing vertical tab": b"%d\x0b" % size,
        "full width": "\uff11".encode(),
        "arabic": "\u0661".encode(),
        "empty": b"",
        "huge": b"9" * 40,
        "leading zeros": b"000%d" % size,
        "quoted": b'"%d"' % size,
    }.items():
        yield f"cl {name}", post(b"Content-Length: " + length + b"\r\n", inner)
    same = b"Content-Length: %d\r\n" % size
    yield "cl twice equal", post(same + same, inner)
    yield "cl twice", post(b"Content-Length: 0\r\n" + same, inner)
    yield "cl twice, other case", post(b"content-length: 0\r\n" + same, inner)
    yield "cl underscore", post(b"Content_Length: 0\r\n" + same, inner)
    yield "cl underscore alone", post(b"Content_Length: %d\r\n" % size, inner)
    yield "cl dot", post(b"Content.Length: %d\r\nContent-Length: 0\r\n" % size, inner)
    yield "cl folded", post(b"Content-Length:\r\n %d\r\n" % size, inner)
    yield "cl nothing", post(b"Content-Length: 0\r\n", inner)
    yield "get with a body", get(same) + inner
    yield "head with a body", (get(same) + inner).replace(b"GET /p", b"HEAD /p", 1)
    yield "options with a body", (get(same) + inner).replace(b"GET /p", b"OPTIONS /p", 1)
    yield "expect", post(same + b"Expect: 100-continue\r\n", inner)
    yield "expect something", post(same + b"Expect: 100-continue, x\r\n", inner)
    yield "expect, and nothing to wait for", get(b"Expect: 100-continue\r\n")


def chunks() -> Iterator[tuple[str, bytes]]:
    """The frame around each piece of a body (D1)."""
    size = len(SMUGGLED)
    for name, body in {
        "good": b"%x\r\n%b\r\n0\r\n\r\n" % (size, SMUGGLED),
        "trailers": b"1\r\na\r\n0\r\nX-Mezite-User: root\r\nContent-Length: 5\r\n\r\n",
        "trailers in a body": b"1\r\na\r\n0\r\n" + SMUGGLED,
        "0x": b"0x%x\r\n%b\r\n0\r\n\r\n" % (size, SMUGGLED),
        "plus": b"+%x\r\n%b\r\n0\r\n\r\n" % (size, SMUGGLED),
        "minus": b"-1\r\n" + SMUGGLED,
        "underscore": b"1_0\r\n" + SMUGGLED + b"\r\n0\r\n\r\n",
        "space before": b" %x\r\n%b\r\n0\r\n\r\n" % (size, SMUGGLED),
        "bare lf": b"1\na\n0\n\n" + SMUGGLED,
        "bare lf in an extension": b"1;x\n" + SMUGGLED + b"\r\n0\r\n\r\n",
        "bare cr in an extension": b"1;x\ry\r\na\r\n0\r\n\r\n" + SMUGGLED,
        "extension": b'1;x="%b"\r\na\r\n0\r\n\r\n' % SMUGGLED.replace(b"\r\n", b"\\n").replace(b'"', b""),
        "no end of a chunk": b"1\r\nab\r\n0\r\n\r\n" + SMUGGLED,
        "overflow": b"1" + b"0" * 16 + b"\r\na\r\n0\r\n\r\n" + SMUGGLED,
        "wraps to 1": b"10000000000000001\r\na\r\n0\r\n\r\n" + SMUGGLED,
        "zeros": b"0000000000000000000000001\r\na\r\n0\r\n\r\n" + SMUGGLED,
        "last chunk 00": b"00\r\n\r\n" + SMUGGLED,
        "empty size": b"\r\n\r\n" + SMUGGLED,
        "lf for the end": b"0\r\n\n" + SMUGGLED,
        "long extension": b"1;" + b"x" * 40_000 + b"\r\na\r\n0\r\n\r\n" + SMUGGLED,
    }.items():
        yield f"chunk {name}", post(b"Transfer-Encoding: chunked\r\n", body)


def first_lines() -> Iterator[tuple[str, bytes]]:
    """Whom a request is for (D1, D7, D8)."""
    for name, line in {
        "absolute": b"GET http://evil.example/p HTTP/1.1",
        "absolute own": b"GET https://wiki.apps.example/p HTTP/1.1",
        "authority": b"GET wiki.apps.example:443 HTTP/1.1",
        "connect": b"CONNECT wiki.apps.example:443 HTTP/1.1",
        "trace": b"TRACE /p HTTP/1.1",
        "asterisk": b"OPTIONS * HTTP/1.1",
        "fragment": b"GET /p#x HTTP/1.1",
        "lower case": b"get /p HTTP/1.1",
        "two spaces": b"GET  /p HTTP/1.1",
        "tab": b"GET\t/p\tHTTP/1.1",
        "space in the target": b"GET /p x HTTP/1.1",
        "http/2": b"GET /p HTTP/2.0",
        "http/1.2": b"GET /p HTTP/1.2",
        "http/0.9": b"GET /p",
        "http/1.10": b"GET /p HTTP/1.10",
        "no version number": b"GET /p HTTP/",
        "second line in it": b"GET /p HTTP/1.1\nX-Mezite-User: root",
        "cr in it": b"GET /p\rX HTTP/1.1",
        "nul": b"GET /p\x00x HTTP/1.1",
        "high byte": b"GET /p\xe9 HTTP/1.1",
        "leading space": b" GET /p HTTP/1.1",
        "preface of http/2": b"PRI * HTTP/2.0",
        "encoded line break": b"GET /p%0d%0aX-Mezite-User:%20root HTTP/1.1",
        "encoded nul": b"GET /p%00 HTTP/1.1",
        "dots": b"GET /p/../admin HTTP/1.1",
        "encoded dots": b"GET /p/%2e%2e/admin HTTP/1.1",
        "half encoded dots": b"GET /p/.%2e%2fadmin HTTP/1.1",
        "two slashes": b"GET //evil.example/p HTTP/1.1",
        "encoded slash": b"GET /p%2fadmin HTTP/1.1",
        "backslash": b"GET /p\\admin HTTP/1.1",
        "no slash": b"GET p HTTP/1.1",
    }.items():
        yield f"line {name}", line + b"\r\n" + HOST + b"\r\n"
    for name, host in {
        "none": b"",
        "twice": HOST + b"Host: evil.example\r\n",
        "twice equal": HOST + HOST,
        "list": b"Host: wiki.apps.example, evil.example\r\n",
        "user": b"Host: evil@wiki.apps.example\r\n",
        "path": b"Host: wiki.apps.example/x\r\n",
        "space before colon": b"Host : wiki.apps.example\r\n",
        "folded": b"Host:\r\n wiki.apps.example\r\n",
        "empty": b"Host: \r\n",
        "port": b"Host: wiki.apps.example:99999\r\n",
        "words for a port": b"Host: wiki.apps.example:evil\r\n",
        "dot and port": b"Host: WIKI.apps.example.:8443\r\n",
        "forwarded": HOST + b"Forwarded: host=evil.example;for=1.2.3.4\r\nX-Forwarded-Host: evil.example\r\n",
        "first line folded": b" Host: evil.example\r\n" + HOST,
    }.items():
        yield f"host {name}", b"GET /p HTTP/1.1\r\n" + host + b"\r\n"


def fields() -> Iterator[tuple[str, bytes]]:
    """Copies of what only the hub says, in every spelling (D4, D5, D6), and lines that are none."""
    for name, (label, spelling) in product(
        RESERVED,
        {
            "plain": "{}: root\r\n",
            "lower": "{lower}: root\r\n",
            "underscores": "{underscores}: root\r\n",
            "one underscore": "{one}: root\r\n",
            "dots": "{dots}: root\r\n",
            "named hop by hop": "Connection: close, {}\r\n{}: root\r\n",
            "space before colon": "{} : root\r\n",
            "folded": "X-A: b\r\n {}: root\r\n",
        }.items(),
    ):
        text = spelling.replace("{}", name)
        for key, value in {
            "{lower}": name.lower(),
            "{underscores}": name.replace("-", "_"),
            "{one}": name.replace("-", "_", 1),
            "{dots}": name.replace("-", "."),
        }.items():
            text = text.replace(key, value)
        yield f"field {name} {label}", get(text.encode())
    for name, line in {
        "bare lf": b"X-A: b\nX-Mezite-User: root\r\n",
        "bare cr": b"X-A: b\rX-Mezite-User: root\r\n",
        "nul": b"X-A: b\x00X-Mezite-User: root\r\n",
        "next line": b"X-A: b\x85X-Mezite-User: root\r\n",
        "line separator": "X-A: b\u2028X-Mezite-User: root\r\n".encode(),
        "no colon": b"X-Mezite-User\r\n",
        "no name": b": root\r\n",
        "space in the name": b"X-A X-Mezite-User: root\r\n",
        "high byte in the name": b"X-Mezite\xadUser: root\r\n",
        "too many": b"X-A: b\r\n" * 200,
        "too long": b"X-A: " + b"b" * 20_000 + b"\r\n",
        "own cookie": b"Cookie: a=b; __Host-mezite_app=root; c=d\r\n",
        "proxy": b"Proxy: http://evil.example\r\nX-Real-IP: root\r\nTrue-Client-IP: root\r\n",
        "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
        "te": b"TE: trailers\r\nTrailer: X-Mezite-User\r\n",
        "keep-alive": b"Keep-Alive: timeout=99\r\nProxy-Connection: keep-alive\r\n",
    }.items():
        yield f"field {name}", get(line)


def upgrades() -> Iterator[tuple[str, bytes]]:
    """The same on the way of WebSockets (D5, D10, D13)."""
    good = b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    asked = b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    for name, extra in {
        "plain": asked + good,
        "identity": asked
        + good
        + b"X-Mezite-User: root\r\nX_Mezite_Roles: root\r\nx.forwarded.for: root\r\n",
        "identity hop by hop": asked.replace(b"Upgrade\r\n", b"Upgrade, X-Mezite-User\r\n", 1)
        + good
        + b"X-Mezite-User: root\r\n",
        "own cookie": asked + good + b"Cookie: __Host-mezite_app=root\r\n",
        "two protocols": asked.replace(b"websocket", b"websocket, h2c") + good,
        "version": asked + good.replace(b"13", b"99"),
        "key": asked + good.replace(b"dGhl", b"!!!!"),
        "no key": asked,
    }.items():
        yield f"upgrade {name}", get(extra)
        yield f"upgrade {name}, and a request behind", get(extra) + SMUGGLED
    yield "upgrade with a length", get(asked + good + b"Content-Length: %d\r\n" % len(SMUGGLED)) + SMUGGLED


PAYLOADS: dict[str, bytes] = {
    name: data for family in (framing, chunks, first_lines, fields, upgrades) for name, data in family()
}
