"""What the publisher reads: instruments and its predecessors' records to their ends, then prices from where those leave off."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence

from aiokafka import TopicPartition

from services.adapters.broadcast import BroadcastReader, BroadcastSettings
from services.adapters.ports import Clock
from services.contracts.records import Record


class RiskFeed(BroadcastReader):
    """The broadcast reader; its prices begin at the oldest place that `resume_at` names, at most the look-back ago without one."""

    def __init__(
        self, settings: BroadcastSettings, clock: Clock, fold: Callable[[Sequence[Record]], Awaitable[None]],
        on_ready: Callable[[], None], resume_at: Callable[[], Mapping[int, int]],
    ) -> None:  # fmt: skip
        super().__init__(settings, clock, fold, on_ready)
        self._resume_at = resume_at

    async def _look_back(self, tps: Sequence[TopicPartition]) -> dict[TopicPartition, int]:
        """The earlier of both, as far as the log still goes back."""
        assert self._consumer is not None
        places = self._resume_at()
        starts = await super()._look_back(tps)
        begins = await self._consumer.beginning_offsets(list(tps))
        return {tp: max(begins[tp], min(start, places.get(tp.partition, start))) for tp, start in starts.items()}
