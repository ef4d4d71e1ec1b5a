"""Packed bytes against a plain dict, and what room they take."""

from __future__ import annotations

import random
from itertools import islice
from zlib import crc32

import pytest

from services.engine.packed import SEGMENT_BYTES, Packed

COLLIDING = ("plumless", "buckeroo")  # of one crc32


def room(packed: Packed) -> int:
    return sum(len(segment) for segment in packed._segments)


@pytest.mark.parametrize("seed", range(4))
def test_it_is_a_dict_whatever_comes_and_goes(seed: int) -> None:
    dice = random.Random(seed)
    packed, inside, outside = Packed(), dict[str, bytes](), dict[str, bytes]()
    numbers: dict[str, int] = {}
    names = [*COLLIDING, "ä/ö", *(f"a{number}" for number in range(3_000))]
    for _ in range(20_000):
        name, luck = dice.choice(names), dice.random()
        if name in inside and luck < 0.5:
            assert packed.take(numbers[name]) == (name, inside[name])
            outside[name] = inside.pop(name)
        elif luck < 0.6:
            packed.forget(name)
            inside.pop(name, None)
            outside.pop(name, None)
        elif name not in inside:
            inside[name] = dice.randbytes(dice.choice((0, 10, 300, 3_000)))
            number = packed.put(name, inside[name])
            assert name not in outside or number == numbers[name], "an entry that was out keeps its number"
            outside.pop(name, None)
            numbers[name] = number
    assert {packed.name(number): packed.body(number) for number in packed} == inside
    assert len(packed) == len(inside)
    for name in names:
        assert packed.find(name) == (numbers[name] if name in inside else None)
    held = [numbers[name] for name in (*inside, *outside)]
    assert len(set(held)) == len(held), "no number is given twice"
    assert room(packed) <= 2 * sum(map(len, inside.values())) + 4 * SEGMENT_BYTES


@pytest.mark.parametrize("seed", range(3))
def test_many_at_once_lie_as_if_they_had_come_one_by_one(seed: int) -> None:
    dice = random.Random(seed)
    one_by_one, at_once = Packed(), Packed()
    expected: dict[str, bytes] = {}
    names = iter([*(f"a{number}" for number in range(900)), *COLLIDING, *(f"b{number}" for number in range(2_000))])
    while part := list(islice(names, dice.choice((1, 7, 90)))):
        fresh = [(name, dice.randbytes(dice.choice((0, 40, 900, 30_000)))) for name in part]
        assert at_once.put_many(fresh) == [one_by_one.put(*each) for each in fresh]
        expected |= dict(fresh)
        for name in dice.sample(sorted(expected), len(expected) // 50):  # holes, and numbers that are given again
            for packed in (one_by_one, at_once):
                packed.forget(name)
            del expected[name]
        assert at_once.known([*part, "never"]) == {name for name in part if name in expected}
    for packed in (one_by_one, at_once):
        assert {packed.name(number): packed.body(number) for number in packed} == expected
        assert {name for name in expected if packed.find(name) is None} == set()
        assert len(packed) == len(expected)
    assert at_once.known(sorted(expected)) == expected.keys()
    assert (at_once._segments, at_once._live, at_once._places) == (
        one_by_one._segments,
        one_by_one._live,
        one_by_one._places,
    )
    assert (at_once._used, len(at_once._free)) == (one_by_one._used, len(one_by_one._free))


def test_many_find_a_place_beyond_the_end_of_the_table() -> None:
    """Names whose hashes are the last of the table's."""
    last = [name for name in map(str, range(60_000)) if crc32(name.encode()) & 1023 >= 1020]
    packed = Packed()
    numbers = packed.put_many([(name, b"") for name in last[:100]])
    assert [packed.find(name) for name in last[:100]] == numbers
    assert packed.known(last) == set(last[:100])


def test_what_is_too_long_is_refused_before_anything_of_it_is_kept() -> None:
    packed = Packed()
    with pytest.raises(ValueError, match="do not fit"):
        packed.put_many([("a", b"1"), ("b", bytes(40_000))])
    assert packed.find("a") is None
    assert len(packed) == 0


def test_two_names_of_one_hash_are_two_entries() -> None:
    assert len({crc32(name.encode()) for name in COLLIDING}) == 1
    packed = Packed()
    numbers = [packed.put(name, name.encode()) for name in COLLIDING]
    packed.take(numbers[0])
    assert [packed.find(name) for name in COLLIDING] == [None, numbers[1]]
    packed.put(COLLIDING[0], b"again")
    assert [packed.body(number) for number in numbers] == [b"again", COLLIDING[1].encode()]


@pytest.mark.parametrize("idle", [0, 40])
def test_coming_and_going_for_long_takes_no_more_room(idle: int) -> None:
    """Whoever leaves a segment while it is written to leaves a hole as well; some stay in every segment."""
    packed = Packed()
    moving = packed.put("moving", bytes(3_000))
    for number in range(4_000):
        packed.take(moving)
        packed.put("moving", bytes(3_000))
        if number % 100 == 0 and number < 100 * idle:
            packed.put(f"idle{number}", bytes(1_000))
    assert len(packed) == idle + 1
    assert room(packed) <= 3 * SEGMENT_BYTES
