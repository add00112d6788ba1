# SPDX-License-Identifier: Apache-2.0
import pytest
import trio

from mezite.net.conflict_detector import ConflictDetector


def test_a_second_entry_is_a_bug_of_the_caller() -> None:
    detector = ConflictDetector("two senders")
    with detector:
        assert detector.held
        with pytest.raises(trio.BusyResourceError, match="two senders"):
            detector.__enter__()
    assert not detector.held
    with detector:
        pass
