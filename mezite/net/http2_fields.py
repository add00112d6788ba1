# SPDX-License-Identifier: Apache-2.0
"""HPACK for blocks of fields, with a short memory.

Calls of one client have the same few blocks of fields again and again, and packing and unpacking them takes a good part
of a call. What a block means hangs on nothing but its bytes and the table of earlier fields; so as long as the table
stays as it is, the answer of last time is right. A block that changes the table is not remembered, and whatever changes
the table makes everything forgotten.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any, Generic, TypeVar

import h2.errors
import h2.exceptions
import hpack
from hpack.table import HeaderTable

__all__ = ["FieldDecoder", "FieldEncoder", "FieldsUnreadableError", "ShortMemory"]

REMEMBERED = 8
"""A client's requests, our answers and their ends: a handful each."""

LONGEST_REMEMBERED = 512
"""Bytes of a block, so that a connection keeps 4 KiB of them at most, and the fields of eight blocks."""

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


class ShortMemory(Generic[_Key, _Value]):
    """Answers that hold for one state of affairs; at most :data:`REMEMBERED` of them."""

    def __init__(self) -> None:
        self._state: Hashable = None
        self._answers: dict[_Key, _Value] = {}

    def recall(self, state: Hashable, key: _Key) -> _Value | None:
        """Return the answer for ``key`` in ``state``; None when it is not known."""
        return self._answers.get(key) if state == self._state else None

    def keep(self, state: Hashable, key: _Key, answer: _Value) -> None:
        """Remember an answer; those of other states, and of a full memory, are forgotten."""
        if state != self._state or len(self._answers) >= REMEMBERED:
            self._answers.clear()
        self._state = state
        self._answers[key] = answer


class _CountedTable(HeaderTable):
    """As hpack's, and counts its changes."""

    changes = 0

    def add(self, name: bytes, value: bytes) -> None:
        self.changes += 1
        super().add(name, value)

    @property
    def maxsize(self) -> int:
        return self._maxsize

    @maxsize.setter
    def maxsize(self, newmax: int) -> None:
        self.changes += 1
        HeaderTable.maxsize.__set__(self, newmax)  # type: ignore[attr-defined]


class FieldsUnreadableError(h2.exceptions.ProtocolError):
    """The block cannot be decoded, and none behind it could be (RFC 9113 section 4.3)."""

    error_code = h2.errors.ErrorCodes.COMPRESSION_ERROR


class FieldDecoder(hpack.Decoder):
    """As hpack's, for h2: that by itself blames a broken block on the protocol instead of the compression."""

    def __init__(self) -> None:
        super().__init__()
        self.header_table = self._table = _CountedTable()
        self._memory: ShortMemory[bytes, tuple[hpack.HeaderTuple, ...]] = ShortMemory()

    def decode(self, data: bytes, raw: bool = False) -> Iterable[hpack.HeaderTuple]:
        """Decode a block. Raises :exc:`FieldsUnreadableError`, and what hpack raises for one that is too large."""
        block = bytes(data)
        changes = self._table.changes
        state = (changes, self.max_header_list_size, self.max_allowed_table_size, raw)
        if (known := self._memory.recall(state, block)) is not None:
            return known
        try:
            fields = tuple(super().decode(block, raw=raw))
        except hpack.OversizedHeaderListError:
            raise
        except hpack.HPACKError as error:
            raise FieldsUnreadableError(f"a block of fields cannot be decoded: {error}") from error
        if self._table.changes == changes and len(block) <= LONGEST_REMEMBERED:
            self._memory.keep(state, block, fields)
        return fields


class FieldEncoder(hpack.Encoder):
    """As hpack's."""

    def __init__(self) -> None:
        super().__init__()
        self.header_table = self._table = _CountedTable()
        self._memory: ShortMemory[tuple[Any, ...], bytes] = ShortMemory()

    def encode(self, headers: Iterable[Any], huffman: bool = True) -> bytes:
        """Encode a block."""
        key = tuple(headers)
        state = (self._table.changes, huffman)
        # A resized table has to be told to the peer first. A tuple of hpack's own kinds may forbid to be indexed, and
        # equals one that does not.
        plain = not self._table.resized and all(type(field) is tuple for field in key)
        if plain and (known := self._memory.recall(state, key)) is not None:
            return known
        encoded = super().encode(key, huffman)
        if plain and self._table.changes == state[0] and len(encoded) <= LONGEST_REMEMBERED:
            self._memory.keep(state, key, encoded)
        return encoded
