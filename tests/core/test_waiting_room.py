# SPDX-License-Identifier: Apache-2.0
"""Threats A11, T8: who sits in the waiting room does not keep others out of it."""

from hypothesis import given
from hypothesis import strategies as st

from mezite.core.waiting_room import Place, WaitingRoom


class Crowd:
    """A room, and who was sent away."""

    def __init__(self) -> None:
        self.room = WaitingRoom(patience=5)
        self.gone: list[str] = []

    def enter(self, name: str, now: float = 0.0) -> Place:
        place = Place(name[0], now, lambda: self.gone.append(name))
        self.room.enter(place)
        return place


def test_an_empty_room_has_nobody_to_send_away() -> None:
    assert not WaitingRoom().make_room("a", 100)


def test_who_has_waited_longest_goes_whatever_crowd_it_is_of() -> None:
    crowd = Crowd()
    for name in ("b1", "a1", "a2", "c1", "c2", "c3"):
        crowd.enter(name)
    assert crowd.room.make_room("c", 5)
    assert crowd.room.make_room("c", 5)
    assert crowd.gone == ["b1", "a1"]


def test_before_that_the_first_of_the_largest_crowd_goes() -> None:
    crowd = Crowd()
    for name in ("b1", "a1", "a2", "a3", "b2"):
        crowd.enter(name)
    assert (len(crowd.room), crowd.room.count("a"), crowd.room.count("z")) == (5, 3, 0)
    assert crowd.room.make_room("c", 0)
    assert crowd.room.make_room("c", 0)
    assert crowd.gone == ["a1", "b1"]
    assert len(crowd.room) == 3


def test_equals_are_not_replaced_before_they_had_their_time() -> None:
    crowd = Crowd()
    crowd.enter("a1", 1.0)
    assert not crowd.room.make_room("b", 5.9)
    assert crowd.room.make_room("b", 6.0)
    assert crowd.gone == ["a1"]


def test_a_crowd_cannot_replace_others() -> None:
    """Newcomers of the source that sits in the room make no room by coming again."""
    crowd = Crowd()
    for number in range(9):
        crowd.enter(f"a{number}")
    crowd.enter("b1")
    assert not crowd.room.make_room("a", 1)
    assert crowd.gone == []


def test_who_has_moved_counts_there_and_who_is_gone_stays_gone() -> None:
    crowd = Crowd()
    place = crowd.enter("a1")
    crowd.room.move(place, "b")
    assert (crowd.room.count("a"), crowd.room.count("b")) == (0, 1)
    assert crowd.room.leave(place)
    crowd.room.move(place, "c")
    assert not crowd.room.leave(place)
    assert len(crowd.room) == 0


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 20), st.booleans()), max_size=60))
def test_the_count_is_that_of_who_is_there(moves: list[tuple[str, int, bool]]) -> None:
    crowd = Crowd()
    places: list[Place] = []
    for source, now, leave in moves:
        if leave and places:
            crowd.room.leave(places.pop(0))
        elif not crowd.room.make_room(source, now):
            places.append(crowd.enter(f"{source}1", now))
        assert len(crowd.room) == sum(crowd.room.count(each) for each in "abc") >= 0
    for place in places:
        crowd.room.leave(place)
    assert len(crowd.room) == 0
