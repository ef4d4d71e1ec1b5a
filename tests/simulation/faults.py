"""What can go wrong, and when: every fault by name, drawn from the seed; the crash points with the hooks that they are hit at."""

from __future__ import annotations

import random
from collections.abc import Callable, Container
from typing import TYPE_CHECKING, Final

from services.liquidator.recovery import newest_snapshot

if TYPE_CHECKING:
    from tests.simulation.process import Node
    from tests.simulation.world import World

ACCOUNT_INPUTS: Final = ("fills", "transfers", "order-events")

# The crash points of the design: number -> hooks (before and after a call of a port) at which the process dies or stands still.
# Those that are no place in the worker are faults of their own: 5 and 3 lose_writes and unanswered flushes, 9 broker_away,
# 11 venue_silent, 16 also damage, 17 retention, 18 cuts, 19 poison, 20 whatever makes two owners.
CRASH_POINTS: Final[dict[int, tuple[str, ...]]] = {
    1: tuple(f"polled:{topic}" for topic in ACCOUNT_INPUTS),
    2: tuple(f"folded:{topic}" for topic in ACCOUNT_INPUTS),
    3: ("fcall:before",),
    4: ("fcall:after",),
    6: ("send_order:before",),
    7: ("send_order:after",),
    8: ("polled:liquidation-orders",),
    10: ("folded:liquidation-orders",),
    12: ("folded:order-events",),
    13: ("send_order:before", "folded:liquidation-orders", "fcall:before"),
    14: ("revoked:before", "revoked:after", "assigned:before", "assigned:after"),
    15: ("start", "load:before", "load:after", "ranges:before", "ranges:after", "seek:before", "seek:after", "send_claim:before", "send_claim:after",
         "read_snapshots:before"),
    16: ("write_snapshot:before", "write_snapshot:between"),
    19: ("send_other:before", "send_other:after"),
    21: ("piece",),
}  # fmt: skip


class Chaos:
    """Draws faults until it is told to stop. Which kinds a history has is drawn first: some bugs need others to be absent."""

    def __init__(self, world: World, draw: random.Random, only: Container[str] | None = None) -> None:
        self.world = world
        self.draw = draw
        self.active = True
        self._mean_s = draw.choice((0.15, 0.4, 0.4, 1.0))
        kinds: dict[str, Callable[[], None]] = {
            "crash": self._crash, "crash_point": self._crash_point, "pause": self._pause, "pause_point": self._pause_point,
            "kafka_cut": self._cut_kafka, "redis_cut": self._cut_redis, "broker_away": self._broker_away,
            "redis_away": self._redis_away, "storm": self._storm, "slow_topic": self._slow_topic, "lose_writes": self._lose_writes,
            "flush_all": self._flush_all, "damage": self._damage, "rebalance": self._rebalance, "clock_step": self._clock_step,
            "coordinator_cut": self._cut_coordinator, "venue_silent": self._venue_silent, "poison": self._poison, "retention": self._retention,
        }  # fmt: skip
        rare = {"flush_all", "damage", "poison", "redis_away", "broker_away", "clock_step", "retention"}
        drawn = {name: kind for name, kind in kinds.items() if draw.random() < (0.35 if name in rare else 0.65)}
        self._kinds = drawn if only is None else {name: kind for name, kind in kinds.items() if name in only}

    def start(self) -> None:
        self.world.loop.later(self.draw.expovariate(1 / self._mean_s), self._strike)

    def _strike(self) -> None:
        if not self.active or not self._kinds:
            return
        name = self.draw.choice(sorted(self._kinds))
        self.world.count(name)
        self.world.trace("chaos", name, {})
        self._kinds[name]()
        self.start()

    def _node(self) -> Node | None:
        alive = self.world.alive()
        return self.draw.choice(alive) if alive else None

    def _for_a_while(self, mean_s: float, end: Callable[[], None]) -> None:
        self.world.loop.later(0.05 + self.draw.expovariate(1 / mean_s), end)

    def _crash(self) -> None:
        if (node := self._node()) is not None:
            self.world.kill(node)

    def _crash_point(self) -> None:
        self.world.armed.append((self._hook(), self.draw.choice((0, 0, 1, 3, 10)), "kill"))

    def _hook(self) -> str:
        return self.draw.choice(CRASH_POINTS[self.draw.choice(sorted(CRASH_POINTS))])

    def _pause_point(self) -> None:
        self.world.armed.append((self._hook(), self.draw.choice((0, 0, 1, 3, 10)), "stop"))

    def _pause(self) -> None:
        if (node := self._node()) is not None:
            self.world.stop(node)

    def _cut_kafka(self) -> None:
        if (node := self._node()) is not None:
            node.kafka.cut()
            self._for_a_while(1.5, node.kafka.restore)

    def _cut_coordinator(self) -> None:
        if (node := self._node()) is not None:
            node.cut_coordinator()
            self._for_a_while(5.0, node.restore_coordinator)

    def _cut_redis(self) -> None:
        if (node := self._node()) is not None:
            node.redis.cut()
            self._for_a_while(1.5, node.redis.restore)

    def _broker_away(self) -> None:
        self.world.kafka_away(away=True)
        self._for_a_while(0.8, lambda: self.world.kafka_away(away=False))

    def _redis_away(self) -> None:
        self.world.redis_away(away=True)
        self._for_a_while(0.8, lambda: self.world.redis_away(away=False))

    def _storm(self) -> None:
        draw, weather = self.draw, self.world.weather
        weather.lost, weather.unanswered, weather.late = (draw.choice((0.0, 0.02, 0.1, 0.3)) for _ in range(3))
        weather.dropped_batches = draw.choice((0.0, 0.05, 0.3))
        weather.latency_s = draw.choice((0.002, 0.01, 0.05))
        self._for_a_while(1.0, self.world.calm)

    def _slow_topic(self) -> None:
        self.world.weather.slow_topic = self.draw.choice((*ACCOUNT_INPUTS, "liquidation-orders", "prices"))
        self._for_a_while(1.5, self.world.calm)

    def _lose_writes(self) -> None:
        self.world.server_changed()
        self.world.server.lose_writes(self.draw)

    def _flush_all(self) -> None:
        self.world.server_changed()
        self.world.server.flush_all()

    def _damage(self) -> None:
        self.world.server_changed()
        self.world.trace("chaos", "damaged", {"what": self.world.server.damage(self.draw)})

    def _rebalance(self) -> None:
        self.world.group.rebalance()

    def _clock_step(self) -> None:
        if (node := self._node()) is not None:
            node.process.wall_step_ms += self.draw.choice((-1, 1)) * self.draw.choice((50, 400, 2_000, 30_000))

    def _venue_silent(self) -> None:
        self.world.venue.halted = True
        self._for_a_while(1.5, self._venue_back)

    def _venue_back(self) -> None:
        self.world.venue.halted = False

    def _retention(self) -> None:
        """The topics are cut as far as that is allowed: up to the newest snapshot."""
        broker = self.world.broker
        for partition in range(broker.partitions):
            found = newest_snapshot(broker.log("snapshots", partition))
            if found is not None and found[1].offsets is not None:
                broker.begin |= {(topic, partition): at for topic, at in found[1].offsets.items()}

    def _poison(self) -> None:
        self.world.venue.poison()
