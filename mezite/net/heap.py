# SPDX-License-Identifier: Apache-2.0
"""How the C library treats the large buffers of a relay."""

from __future__ import annotations

__all__ = ["keep_large_blocks"]

#: Some portions of a relay, and little against what a process has anyway.
LARGEST_KEPT_BYTES = 2 * 1024 * 1024


def keep_large_blocks() -> None:
    """Let freed buffers of up to 2 MiB be used again instead of going back to the kernel each time.

    A portion of a relay passes through three or four buffers of 256 KiB; fresh from the kernel, each of them costs 64
    page faults, measured at a quarter of all processor time of a bulk transfer. glibc raises its thresholds to the
    largest block that it saw freed (mallopt(3), M_MMAP_THRESHOLD); other C libraries are left as they are. The price
    is up to 4 MiB of free memory that the process keeps.
    """
    bytearray(LARGEST_KEPT_BYTES)
