# SPDX-License-Identifier: Apache-2.0
"""Simulated cluster-hours under faults, over many seeds.

    python bench/simulation.py [--seeds 32] [--hours 20] [--first 1] [--processes 2]

``--hours`` is the sum over all seeds. Prints one line per seed that broke a promise and a summary; exits 1 when
there was one. Replay a seed alone with ``--first SEED --seeds 1 --hours H``, where H is what the line says.
"""

from __future__ import annotations

import argparse
import collections
import logging
import multiprocessing
import sys
import time

from mezite.agent.tunnel_client import TunnelClient
from mezite.testing.simulated_cluster import ClusterPlan, SimulationResult, run_simulation


def simulate(work: tuple[int, float]) -> tuple[int, SimulationResult, str]:
    """One seed; in a process of its own."""
    seed, hours = work
    # Ten thousand broken connections are the purpose, not news.
    logging.getLogger("mezite").setLevel(logging.CRITICAL + 1)
    result, trace = run_simulation(ClusterPlan(hours=hours), seed=seed, agent_loop=TunnelClient)
    return seed, result, trace.digest


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=32)
    parser.add_argument("--hours", type=float, default=20.0)
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    options = parser.parse_args()
    hours = options.hours / options.seeds
    works = [(seed, hours) for seed in range(options.first, options.first + options.seeds)]
    started = time.perf_counter()
    counts: collections.Counter[str] = collections.Counter()
    seconds, broken = 0.0, 0
    with multiprocessing.Pool(options.processes) as pool:
        for seed, result, digest in pool.imap_unordered(simulate, works):
            counts.update(result.counts)
            seconds += result.seconds
            for violation in result.violations:
                broken += 1
                print(f"seed {seed} ({hours:.4f} h, trace {digest[:16]}): {violation}", flush=True)
    for name, count in sorted(counts.items()):
        print(f"{name:32} {count:12,}")
    print(f"{seconds / 3600:.1f} simulated cluster-hours, {options.seeds} seeds, {broken} broken promises")
    print(f"{time.perf_counter() - started:.0f} s of wall clock")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
