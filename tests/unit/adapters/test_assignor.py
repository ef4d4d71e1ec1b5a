"""Shards are whole, even and sticky."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.adapters.assignor import ShardAssignor, distribute

HELD = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3), st.frozensets(st.integers(0, 40), max_size=12), min_size=1, max_size=6
)


@given(st.integers(0, 32), HELD)
def test_every_shard_has_one_owner_and_counts_differ_by_at_most_one(
    shards: int, held: dict[str, frozenset[int]]
) -> None:
    given_ = distribute(shards, held)
    assert sorted(shard for mine in given_.values() for shard in mine) == list(range(shards))
    counts = [len(mine) for mine in given_.values()]
    assert max(counts) - min(counts) <= 1


@given(st.integers(1, 32), st.integers(1, 6))
def test_an_even_distribution_stays_as_it_is(shards: int, members: int) -> None:
    first = distribute(shards, {f"m{n}": frozenset() for n in range(members)})
    assert distribute(shards, {name: frozenset(mine) for name, mine in first.items()}) == first


@given(st.integers(1, 32), st.integers(1, 5))
def test_who_joins_takes_no_more_than_evenness_asks(shards: int, members: int) -> None:
    before = distribute(shards, {f"m{n}": frozenset() for n in range(members)})
    after = distribute(shards, {name: frozenset(mine) for name, mine in before.items()} | {"new": frozenset()})
    moved = sum(len(mine - after[name]) for name, mine in before.items())
    assert moved == len(after["new"])


class Cluster:
    """Partition counts of topics, as aiokafka's metadata answers."""

    def __init__(self, **counts: int) -> None:
        self._counts = counts

    def partitions_for_topic(self, topic: str) -> set[int]:
        return set(range(self._counts[topic]))


def test_the_same_partitions_of_every_topic_go_together() -> None:
    """Three workers and four partitions: round robin over topics would tear the shards apart."""
    assignor = ShardAssignor()
    members = {f"m{n}": assignor.metadata(["fills", "accounts"]) for n in range(3)}
    assigned = assignor.assign(Cluster(fills=4, accounts=4), members)  # type: ignore[arg-type]  # all that is asked of it
    for assignment in assigned.values():
        (first, second) = [partitions for _, partitions in assignment.assignment]
        assert first == second


def test_what_was_assigned_travels_in_the_next_join_request() -> None:
    assignor = ShardAssignor()
    members = {"m": assignor.metadata(["fills"])}
    assigned = assignor.assign(Cluster(fills=3), members)  # type: ignore[arg-type]  # all that is asked of it
    assignor.on_assignment(assigned["m"])
    assert assignor.metadata(["fills"]).user_data == b"0,1,2"
