# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys

PROGRAM = """
import resource
from mezite.net.heap import keep_large_blocks
keep_large_blocks()
def churn():
    kept = [bytes(1) * 524321 for _ in range(4)]
churn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    churn()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def test_portions_of_a_relay_do_not_fault_again_and_again() -> None:
    faults = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    ).stdout
    # Without it: 51,200.
    assert int(faults) < 2000


COLLECTOR = """
import gc
from mezite.net.heap import COLLECTOR_THRESHOLDS, collect_rarely
collect_rarely()
assert gc.get_threshold() == COLLECTOR_THRESHOLDS
assert gc.get_freeze_count() > 1_000
assert gc.isenabled()
"""


def test_the_collector_leaves_alone_what_stays_p13():
    subprocess.run([sys.executable, "-c", COLLECTOR], check=True)


PAUSES = """
import gc, time
from mezite.net.heap import collect_rarely
kept = [[number] for number in range(300_000)]
def pause():
    began = time.thread_time()
    gc.collect()
    return time.thread_time() - began
before = min(pause() for _ in range(3))
collect_rarely()
print(min(pause() for _ in range(3)) / before)
"""


def test_a_full_collection_does_not_walk_what_was_there_at_the_start_p13() -> None:
    """In processor time; 239 ms of standstill was measured with twice as many objects."""
    ratio = subprocess.run([sys.executable, "-c", PAUSES], capture_output=True, text=True, check=True).stdout
    assert float(ratio) < 0.2
