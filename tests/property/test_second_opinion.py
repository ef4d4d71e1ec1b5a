"""A sound engine is never contradicted by the reference, nor accused by the audit; a wrong number is."""

from __future__ import annotations

import random

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from services.contracts.messages import Order
from services.contracts.records import Record
from services.engine.effects import Effect, Emit
from services.engine.engine import Engine
from services.engine.settings import Settings
from services.liquidator.guard import Guard
from services.liquidator.second_opinion import SecondOpinion
from tests.support.histories import Drive, make_history


class Watched:
    """An engine each of whose orders is looked at as a worker would, all of them."""

    def __init__(self) -> None:
        self._engine = Engine(Settings())
        self._opinion = SecondOpinion(1)
        self._guard = Guard(50)
        self.looked_at: list[Order] = []
        self.compared = 0
        self.found: list[str] = []

    def apply(self, record: Record) -> list[Effect]:
        self._opinion.read([record])
        return self._look(self._engine.apply(record))

    def timer(self, time_ms: int) -> list[Effect]:
        return self._look(self._engine.timer(time_ms))

    def next_timer_ms(self) -> int | None:
        return self._engine.next_timer_ms()

    def _look(self, effects: list[Effect]) -> list[Effect]:
        self.found += [f"overlooked: {each}" for each in self._engine.overlooked(100)]
        for order in [each.message for each in effects if isinstance(each, Emit) and isinstance(each.message, Order)]:
            self._look_at(order)
        return effects

    def _look_at(self, order: Order) -> None:
        evidence, basis = self._guard.evidence(order), self._engine.basis(order)
        self.found += [] if evidence is None else [evidence.detail]
        if basis is None:
            return
        self.looked_at.append(order)
        difference = self._opinion.differs(order, basis)
        self.found += [] if difference is None else [difference]
        wrong = msgspec.structs.replace(order, equity=f"{order.equity.partition('.')[0]}.000000000000000007")
        self.compared += self._opinion.differs(wrong, basis) is not None


@given(st.integers(0, 2**32).map(random.Random), st.integers(0, 2**16))
@settings(max_examples=30)
def test_a_sound_engine_is_not_accused(dice: random.Random, answers: int) -> None:
    watched = Watched()
    Drive(watched, answers).play(make_history(dice))
    assert watched.found == []


def test_wrong_numbers_are_seen() -> None:
    """Were nothing compared, the agreement above would say nothing."""
    orders = compared = 0
    for seed in range(40):
        watched = Watched()
        Drive(watched, seed).play(make_history(random.Random(seed)))
        orders += len(watched.looked_at)
        compared += watched.compared
    assert orders > 20
    assert compared > orders / 2
