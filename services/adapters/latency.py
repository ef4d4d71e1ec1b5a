"""A histogram of durations that takes many equal observations at once: counting each of 100,000 ticks a second must cost nothing."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate

from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString


class Latency(Collector):
    """Seconds, in the buckets that end at `bounds`. For one thread."""

    def __init__(self, name: str, text: str, bounds: Sequence[float]) -> None:
        self._name = name
        self._text = text
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float, count: int = 1) -> None:
        """`count` observations of `seconds`."""
        self._counts[bisect_left(self._bounds, seconds)] += count
        self._sum += seconds * count

    def describe(self) -> Iterable[Metric]:
        """Its name, for the registry to refuse a second one."""
        return [HistogramMetricFamily(self._name, self._text)]

    def collect(self) -> Iterable[Metric]:
        edges = [*map(floatToGoString, self._bounds), "+Inf"]
        buckets = list(zip(edges, map(float, accumulate(self._counts)), strict=True))
        yield HistogramMetricFamily(self._name, self._text, buckets=buckets, sum_value=self._sum)
