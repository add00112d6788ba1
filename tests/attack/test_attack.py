# SPDX-License-Identifier: Apache-2.0
"""Threats A11, B9, C4, D14, T8: three hundred hostile connections of each class against one real hub.

All classes attack at once, because what ends most of them is a deadline of tens of real seconds. By hand, one class
after the other and more of them: `python -m tests.attack --connections 2000`.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import trio

from tests.attack.attackers import KINDS
from tests.attack.battle import cluster_under_attack, fight

pytestmark = [pytest.mark.e2e, pytest.mark.root]
CONNECTIONS = 300


def test_honest_clients_notice_next_to_nothing(tmp_path: Path) -> None:
    """As root: a peer that vanishes without a FIN is made with TCP_REPAIR."""
    with cluster_under_attack(tmp_path) as cluster:
        run = partial(fight, baseline_seconds=6, per_second=400)
        report = trio.run(run, cluster, list(KINDS), CONNECTIONS)
    print(report)
    assert report.complaints() == [], str(report)
