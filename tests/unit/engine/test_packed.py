"""Packed bytes against a plain dict, and what room they take."""

from __future__ import annotations

import random
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
