# SPDX-License-Identifier: Apache-2.0
"""The attack run by hand, one class after the other.

python -m tests.attack [--connections 2000] [--per-second 500] [CLASS...]
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from pathlib import Path

import trio

from tests.attack.attackers import KINDS
from tests.attack.battle import cluster_under_attack, fight


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__)
    parser.add_argument("--connections", type=int, default=2000, help="of each class")
    parser.add_argument("--per-second", type=float, default=500, help="new hostile connections")
    parser.add_argument(
        "--baseline", type=float, default=9, help="seconds without an attack, to compare with"
    )
    parser.add_argument("--together", action="store_true", help="all classes at once instead of one by one")
    parser.add_argument("classes", nargs="*", metavar="CLASS", help=f"of {', '.join(KINDS)}; all by default")
    options = parser.parse_args()
    classes = options.classes or list(KINDS)
    bad = 0
    with tempfile.TemporaryDirectory() as folder, cluster_under_attack(Path(folder)) as cluster:
        for together in [classes] if options.together else [[name] for name in classes]:
            run = partial(fight, baseline_seconds=options.baseline, per_second=options.per_second)
            report = trio.run(run, cluster, together, options.connections)
            print(report, *report.complaints(), sep="\n", flush=True)
            bad += bool(report.complaints())
    return min(bad, 1)


if __name__ == "__main__":
    raise SystemExit(main())
