# SPDX-License-Identifier: Apache-2.0
"""Claim: the sniffer decides after at most MAX_SNIFFED_BYTES, and how bytes arrive changes nothing: once it
has decided on a prefix, every longer prefix gives the same answer.

Allowed exceptions: none.
"""

from mezite.core.protocol_sniffer import MAX_SNIFFED_BYTES, NEED_DATA, sniff


def check(data: bytes) -> None:
    """``data`` is what a client sends first."""
    decided = NEED_DATA
    for end in range(min(len(data), MAX_SNIFFED_BYTES + 8) + 1):
        answer = sniff(data[:end])
        if decided is not NEED_DATA:
            assert answer is decided
        decided = answer
    if len(data) >= MAX_SNIFFED_BYTES:
        assert decided is not NEED_DATA
    assert sniff(data) is decided
