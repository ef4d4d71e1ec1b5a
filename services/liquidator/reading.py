"""Records of one partition of an account topic on their way through the engine, and what is known of them piece by piece."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Final

from services.contracts.codec import decode
from services.contracts.messages import Claim, LiquidationRecord, Order
from services.contracts.records import Record
from services.liquidator.dispatch import Arrival
from services.liquidator.shard import ORDERS, Shard

LOOKED_AT: Final = 64  # records of the orders topic


class Reading:
    """Some records in a row, the next to be folded. `arrived`: when (monotonic) they reached us."""

    def __init__(
        self, shard: Shard, topic: str, records: Sequence[Record], arrived: float, traceparents: Mapping[int, bytes]
    ) -> None:  # fmt: skip
        self.shard = shard
        self.topic = topic
        self.records = records
        self._arrived = arrived
        self._traceparents = traceparents
        self._messages: list[LiquidationRecord | None] = []
        self._begun = 0

    def until_claim(self) -> Claim | None:
        """Look at some records of the orders topic, and keep those before the first claim: a claim changes who decides. A claim
        that is the very first is answered."""
        for record in islice(self.records, LOOKED_AT):
            message = decode(ORDERS, record.value)
            if isinstance(message, Claim):
                if not self._messages:
                    return message
                break
            self._messages.append(message if isinstance(message, Order) else None)
        self.records = self.records[: len(self._messages)]
        return None

    def begun(self, count: int) -> Iterator[str]:
        """So many are read by now, the shard says so at once: ids of the valid orders among those that are new to it. One that a
        claim made void is not its successor, which has the same id."""
        if count == self._begun:
            return
        first, self._begun = self._begun, count
        self.shard.next[self.topic] = self.records[count - 1].offset + 1
        for message in self._messages[first:count]:
            if isinstance(message, Order) and message.epoch == self.shard.claim:
                yield message.order_id

    def arrival(self, count: int) -> Arrival:
        """For effects of the last of so many."""
        return Arrival(self.records[:count], self._arrived, self._traceparents)
