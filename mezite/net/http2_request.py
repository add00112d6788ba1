# SPDX-License-Identifier: Apache-2.0
"""Our own reading of a request's fields: what h2 lets through is not what we would serve (threats D3, D8)."""

from __future__ import annotations

import re
from collections.abc import Iterable

import attrs

from mezite.net.http2_limits import Http2Limits

__all__ = [
    "Header",
    "RequestHead",
    "RequestRefusedError",
    "check_header_block",
    "is_body_whole",
    "parse_request",
]

Header = tuple[bytes, bytes]

MAX_PATH_BYTES = 2048  # a gRPC path is package, service and method; nothing else comes this way yet
_PATH = re.compile(rb"(/[A-Za-z0-9\-._~!$&'()*+,;=:@%]*)+(\?[A-Za-z0-9\-._~!$&'()*+,;=:@%/?]*)?")
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})|%(?:2[EeFf]|5[Cc]|[01][0-9A-Fa-f]|7[Ff])")
_DOT_SEGMENT = re.compile(rb"/\.\.?(?:/|$)")
_AUTHORITY = re.compile(
    rb"(?:[A-Za-z0-9](?:[A-Za-z0-9._-]{0,253}[A-Za-z0-9])?\.?|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?"
)
_METHOD = re.compile(rb"[A-Z]{1,16}")
_PSEUDO_FIELDS = frozenset({b":method", b":scheme", b":path", b":authority"})


class RequestRefusedError(Exception):
    """The fields are not a request we would serve; answer with ``status`` and nothing else."""

    def __init__(self, reason: str, status: bytes = b"400") -> None:
        super().__init__(reason)
        self.status = status


@attrs.frozen(kw_only=True)
class RequestHead:
    """A request whose method, path and authority are in the one form that has one meaning."""

    method: str
    scheme: str
    path: str
    """Canonical: begins with a slash, no empty or dot segment, no encoded slash, dot or control character."""
    query: str
    """Without the question mark."""
    authority: str
    """``host`` or ``host:port``."""
    fields: tuple[Header, ...]
    """The rest, in order, names in lower case."""

    def get(self, name: bytes) -> bytes | None:
        """The first field of that name."""
        return next((value for key, value in self.fields if key == name), None)


def check_header_block(fields: Iterable[Header], limits: Http2Limits) -> str | None:
    """What is wrong with the size of a header or trailer block, or None.

    The size is that of RFC 9113 section 6.5.2: name, value and 32 more for each field.
    """
    count = size = 0
    for name, value in fields:
        count += 1
        size += len(name) + len(value) + 32
    if count > limits.max_header_fields:
        return f"more than {limits.max_header_fields} fields"
    if size > limits.max_header_bytes:
        return f"more than {limits.max_header_bytes} bytes of fields"
    return None


def is_body_whole(fields: Iterable[Header], size: int) -> bool:
    """Whether a request's body may have ``size`` bytes: its content-length says so, or there is none (RFC 9113 section
    8.1.1). h2 asks that of DATA only, and a request can end in other ways.
    """
    return all(int(value) == size for name, value in fields if name == b"content-length")


def _split_path(raw: bytes) -> tuple[str, str]:
    canonical = (
        len(raw) <= MAX_PATH_BYTES and _PATH.fullmatch(raw) is not None and _BAD_ESCAPE.search(raw) is None
    )
    path, _, query = raw.partition(b"?")
    if not canonical or b"//" in path or _DOT_SEGMENT.search(path):
        raise RequestRefusedError("the path is not canonical")
    return path.decode("ascii"), query.decode("ascii")


def _one_authority(pseudo: bytes | None, fields: list[Header]) -> str:
    candidates = [value for name, value in fields if name == b"host"]
    if pseudo is not None:
        candidates.append(pseudo)
    if not candidates or len({value.lower() for value in candidates}) > 1 or len(candidates) > 2:
        raise RequestRefusedError("exactly one authority is needed")
    if not _AUTHORITY.fullmatch(candidates[0]):
        raise RequestRefusedError("the authority is malformed")
    return candidates[0].decode("ascii").lower()


def parse_request(fields: Iterable[Header], limits: Http2Limits) -> RequestHead:
    """Read the fields of a request as h2 delivered them.

    Raises RequestRefusedError: status 431 for too many or too large fields, 405 for CONNECT, 400 for a
    method, path or authority that is malformed, missing or ambiguous.
    """
    block = list(fields)
    if (problem := check_header_block(block, limits)) is not None:
        raise RequestRefusedError(problem, b"431")
    pseudo = {name: value for name, value in block if name.startswith(b":")}
    rest = [(name, value) for name, value in block if not name.startswith(b":")]
    method = pseudo.get(b":method", b"")
    if method == b"CONNECT":
        raise RequestRefusedError("CONNECT is not served", b"405")
    if not _METHOD.fullmatch(method) or not pseudo.keys() <= _PSEUDO_FIELDS:
        raise RequestRefusedError("the method or a pseudo-field is malformed")
    path, query = _split_path(pseudo.get(b":path", b""))
    return RequestHead(
        method=method.decode("ascii"),
        scheme=pseudo.get(b":scheme", b"").decode("latin-1"),
        path=path,
        query=query,
        authority=_one_authority(pseudo.get(b":authority"), rest),
        fields=tuple(rest),
    )
