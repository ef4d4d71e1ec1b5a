"""Who owns which partitions: the same partition numbers of every account topic go to one worker, and stay there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.abstract import AbstractPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata

PROTOCOL_VERSION = 0


class ShardAssignor(AbstractPartitionAssignor):  # type: ignore[misc]  # aiokafka has no stubs
    """Whole shards, evenly, and sticky: a member keeps what it has as far as evenness allows.

    An instance belongs to one consumer: what it was given last travels in its next join request.
    """

    name = "ringfence-shards"

    def __init__(self) -> None:
        self._owned: frozenset[int] = frozenset()

    def metadata(self, topics: Iterable[str]) -> ConsumerProtocolMemberMetadata:
        """The join request: topics, and the shards held now."""
        owned = ",".join(map(str, sorted(self._owned))).encode()
        return ConsumerProtocolMemberMetadata(PROTOCOL_VERSION, sorted(topics), owned)

    def assign(
        self, cluster: ClusterMetadata, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Run by the member that leads the group. A shard is a partition number that every subscribed topic has."""
        topics = sorted({topic for member in members.values() for topic in member.subscription})
        counts = [len(cluster.partitions_for_topic(topic) or ()) for topic in topics]
        wanted = {member: _parse(metadata.user_data) for member, metadata in members.items()}
        shards = distribute(min(counts, default=0), wanted)
        return {
            member: ConsumerProtocolMemberAssignment(
                PROTOCOL_VERSION, [(topic, sorted(given)) for topic in topics if given], b""
            )
            for member, given in shards.items()
        }

    def on_assignment(self, assignment: ConsumerProtocolMemberAssignment) -> None:
        self._owned = frozenset(partition for _, partitions in assignment.assignment for partition in partitions)


def distribute(shards: int, wanted: Mapping[str, frozenset[int]]) -> dict[str, set[int]]:
    """Give `shards` (0..n-1) to the members so that counts differ by at most one, keeping what they hold where possible."""
    members = sorted(wanted, key=lambda member: (-len(wanted[member]), member))
    least, extra = divmod(shards, len(members)) if members else (0, 0)
    given: dict[str, set[int]] = {member: set() for member in members}
    free = set(range(shards))
    for rank, member in enumerate(members):
        quota = least + (rank < extra)
        given[member] = set(sorted(wanted[member] & free)[:quota])
        free -= given[member]
    left = sorted(free)
    for rank, member in enumerate(members):
        while left and len(given[member]) < least + (rank < extra):
            given[member].add(left.pop(0))
    return given


def _parse(user_data: bytes | None) -> frozenset[int]:
    """The shards in a join request; nothing if the member never had any, or speaks another dialect."""
    parts = (user_data or b"").split(b",")
    return frozenset(int(part) for part in parts if part.isdigit() and len(part) <= 9)
