# SPDX-License-Identifier: Apache-2.0
"""How a process that carries many connections uses its memory. Called once, at the start."""

from __future__ import annotations

import gc

__all__ = ["collect_rarely", "keep_large_blocks"]

#: An idle tunnel is some 350 objects that the collector looks at. With its own numbers (700, 10, 10) it spent 44 of
#: 62 processor seconds, and stood still for up to 2.8 s, while 2,000 agents and their hub came up in one process; with
#: these 5 of 24. The price is cyclic garbage of some MB that lies around longer (threat P13).
COLLECTOR_THRESHOLDS = (10_000, 10, 100)

#: Some portions of a relay, and little against what a process has anyway.
LARGEST_KEPT_BYTES = 2 * 1024 * 1024


def keep_large_blocks() -> None:
    """Let freed buffers of up to 2 MiB be used again instead of going back to the kernel each time.

    A portion of a relay passes through three or four buffers of 512 KiB; fresh from the kernel, each of them costs 128
    page faults, measured at a quarter of all processor time of a bulk transfer. glibc raises its thresholds to the
    largest block that it saw freed (mallopt(3), M_MMAP_THRESHOLD); other C libraries are left as they are. The price
    is up to 4 MiB of free memory that the process keeps.
    """
    bytearray(LARGEST_KEPT_BYTES)


def collect_rarely() -> None:
    """Let the garbage collector run seldom, and never look at what is there now: modules, classes, tables."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)
