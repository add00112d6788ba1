# SPDX-License-Identifier: Apache-2.0
"""HPACK for received blocks of fields."""

from __future__ import annotations

from collections.abc import Iterable

import h2.errors
import h2.exceptions
import hpack

__all__ = ["FieldDecoder", "FieldsUnreadableError"]


class FieldsUnreadableError(h2.exceptions.ProtocolError):
    """The block cannot be decoded, and none behind it could be (RFC 9113 section 4.3)."""

    error_code = h2.errors.ErrorCodes.COMPRESSION_ERROR


class FieldDecoder(hpack.Decoder):
    """As hpack's, for h2: that by itself blames a broken block on the protocol instead of the compression."""

    def decode(self, data: bytes, raw: bool = False) -> Iterable[hpack.HeaderTuple]:
        """Decode a block. Raises :exc:`FieldsUnreadableError`, and what hpack raises for one that is too large."""
        try:
            return super().decode(data, raw=raw)
        except hpack.OversizedHeaderListError:
            raise
        except hpack.HPACKError as error:
            raise FieldsUnreadableError(f"a block of fields cannot be decoded: {error}") from error
