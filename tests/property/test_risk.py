"""The multiplier's promises, its arithmetic against a slow version of its own, and a fold that can be interrupted anywhere."""

from __future__ import annotations

import decimal
import json
import math
import random
import threading
from fractions import Fraction
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.contracts.decimals import ONE, parse
from services.contracts.messages import RiskParameters
from services.contracts.records import Record
from services.engine.risk_fold import RiskFold
from services.engine.volatility import RiskModel, demanded, next_multiplier, updated_variance

PRICES = st.integers(10**12, 10**26)
VARIANCES = st.integers(0, 10**15)
CORES = st.lists(st.integers(0, 8 * ONE), min_size=1, max_size=60)
STEP = ONE // 20


def models() -> st.SearchStrategy[RiskModel]:
    quanta = st.integers(1, 6).map(lambda n: n * STEP)
    return st.builds(
        RiskModel, cap=st.integers(ONE, 5 * ONE), quantum=st.just(STEP), hysteresis=quanta, max_up=quanta, max_down=quanta,
        buffer=st.sampled_from([0, ONE // 5, ONE // 3]),
    )  # fmt: skip


def slow_log(x: Fraction, places: int = 30) -> Fraction:
    """ln x by halving x towards 1 with exact square roots of 60 digits, then the series of atanh: no library's logarithm."""
    scale = 10**60
    doublings = 0
    while abs(x - 1) > Fraction(1, 100):
        x = Fraction(math.isqrt(x.numerator * scale * scale // x.denominator), scale)
        doublings += 1
    s = (x - 1) / (x + 1)
    s = Fraction(round(s * scale), scale)
    total, power = Fraction(0), s
    for n in range(places // 2 + 2):
        total += power / (2 * n + 1)
        power = Fraction(round(power * s * s * scale), scale)
    return 2 * total * 2**doublings


@given(VARIANCES, PRICES, st.integers(-(10**17), 10**17), st.integers(1, 10**6), st.integers(1, 10**6))
@settings(max_examples=60)
def test_the_variance_agrees_with_a_slow_version(
    variance: int, before: int, change: int, elapsed: int, half: int
) -> None:
    """Within one unit of 1e-18 (a rounding) of a version that shares no function with it."""
    now = max(1, before + before * change // ONE)
    move = slow_log(Fraction(now, before))
    half_power = slow_power_of_half(Fraction(min(elapsed, half), half))
    expected = variance * half_power + (1 - half_power) * move * move * 1000 / elapsed * ONE
    assert abs(updated_variance(variance, before, now, elapsed, half) - expected) <= 1


def slow_power_of_half(exponent: Fraction) -> Fraction:
    """2^-x for 0 <= x <= 1 by its binary digits: products of repeated square roots of a half."""
    scale = 10**50
    root, result = Fraction(1, 2), Fraction(1)
    if exponent == 1:
        return root
    for _ in range(150):
        root = Fraction(math.isqrt(root.numerator * scale * scale // root.denominator), scale)
        exponent *= 2
        if exponent >= 1:
            exponent -= 1
            result = Fraction(round(result * root * scale), scale)
    return result


@given(VARIANCES, st.integers(1, ONE), st.integers(1, 10**7), st.integers(1, 20))
def test_the_demand_agrees_with_a_slow_version(variance: int, rate: int, close_out: int, z: int) -> None:
    """z·σ·√T/m_0 within the two roots' rounding, and never under it by more."""
    model = RiskModel(z=z * ONE, close_out_ms=close_out)
    exact = decimal.Context(prec=60)
    sigma = exact.sqrt(exact.divide(decimal.Decimal(variance), decimal.Decimal(ONE)))
    root = exact.sqrt(exact.divide(decimal.Decimal(close_out), decimal.Decimal(1000)))
    expected = Fraction(exact.multiply(exact.multiply(sigma, root), z)) * ONE / rate
    slack = (Fraction(sigma) + Fraction(root)) * z / rate + 2
    assert abs(Fraction(demanded(variance, rate, model), ONE) - expected) <= slack


@given(models(), CORES)
def test_every_step_keeps_its_promises(model: RiskModel, cores: list[int]) -> None:
    """Between 1 and the cap, on the grid, never up by more than a step up, never down by more than a step down."""
    held, before = ONE, 0
    for core in cores:
        now = next_multiplier(held, core, before, model)
        assert ONE <= now <= model.cap
        assert (now - ONE) % model.quantum == 0 or now == model.cap
        assert -model.max_down <= now - held <= model.max_up
        if min(core, model.cap) > held:
            assert now > held, "what is demanded above the margin moves it"
        if now < held:
            assert core * ONE <= now * (ONE - model.buffer) or now == ONE or core >= model.cap, (
                "the full margin fits under it"
            )
        held, before = now, core


@given(models(), st.integers(0, 8 * ONE), st.integers(0, 80))
def test_a_steady_market_is_left_in_peace(model: RiskModel, core: int, start: int) -> None:
    """The same demand for ever: after a while nothing moves, and the demand is covered up to the cap."""
    held = min(ONE + start * model.quantum, model.cap)
    for _ in range(200):
        held = next_multiplier(held, core, core, model)
    assert next_multiplier(held, core, core, model) == held
    assert held >= min(core, model.cap)


@given(models(), st.integers(ONE, 4 * ONE), st.lists(st.integers(-(STEP // 4), STEP // 4), min_size=5, max_size=40))
def test_small_noise_never_makes_it_fall_and_rise(model: RiskModel, core: int, noise: list[int]) -> None:
    """Demand that trembles by less than the hysteresis: once it has made the multiplier rise it never makes it fall again."""
    held, before = model.cap, core
    for _ in range(200):
        held, before = next_multiplier(held, core, before, model), core
    seen = [held]
    for shake in noise:
        seen.append(next_multiplier(seen[-1], core + shake, before, model))
        before = core + shake
    rises = [place for place, (then, now) in enumerate(pairwise(seen)) if now > then]
    falls = [place for place, (then, now) in enumerate(pairwise(seen)) if now < then]
    assert not rises or not falls or max(falls) < min(rises)


FAST = RiskModel(step_ms=2_000, sample_ms=200, half_life_ms=10_000, refresh_ms=9_000, close_out_ms=5_000, notice_ms=500)


def tape(seed: int, count: int = 400) -> list[Record]:
    """Two instruments, a walk each, with bursts, repeats and silences."""
    dice, now, marks = random.Random(seed), 1_700_000_000_000, {"A-PERP": 1000.0, "B-PERP": 50.0}
    records = [
        _record("instruments", number, now, {
            "instrument": name, "kind": "perpetual", "contract": "linear", "underlying": "X", "settlement_asset": "USDT",
            "margin_tiers": [{"notional_floor": "0", "maintenance_margin_rate": "0.01"}], "max_price_move": "0.1",
        })
        for number, name in enumerate(marks)
    ]  # fmt: skip
    for number in range(count):
        now += dice.choice([0, 20, 150, 300, 700, 4_000])
        name = dice.choice(sorted(marks))
        marks[name] *= 1 + dice.gauss(0, 0.004) * dice.choice([1, 1, 1, 8, 30])
        stamp = now - dice.choice([0, 0, 10, 900])
        records.append(
            _record("prices", number, now, {"instrument": name, "mark_price": f"{marks[name]:.4f}", "ts_ms": stamp})
        )
    return records


def _record(topic: str, offset: int, time_ms: int, value: dict[str, Any]) -> Record:
    raw = json.dumps({"ts_ms": time_ms, **value}).encode()
    return Record(topic=topic, partition=0, offset=offset, timestamp_ms=time_ms, key=None, value=raw)


def folded(records: list[Record], fold: RiskFold | None = None) -> list[RiskParameters]:
    fold = fold or RiskFold(FAST)
    return [message for record in records for message in fold.apply(record)]


@given(st.integers(0, 2**32), st.integers(1, 400))
@settings(max_examples=40)
def test_a_successor_goes_on_as_if_nothing_had_happened(seed: int, cut: int) -> None:
    """Killed after any record: whoever resumes from the newest records and their places writes the rest, nothing twice."""
    records = tape(seed)
    whole = folded(records)
    before = folded(records[: 2 + cut])
    last = {message.instrument: message for message in before}
    heir = RiskFold(FAST)
    heir.resume(last)
    starts = [message.as_of[1] for message in last.values() if message.as_of is not None]
    start = min(starts) if len(last) == 2 else 0
    after = folded([*records[:2], *(r for r in records[2:] if r.offset >= start)], heir)
    assert [*before, *after] == whole


@given(st.integers(0, 2**32))
@settings(max_examples=25)
def test_records_ascend_within_their_limits(seed: int) -> None:
    messages = folded(tape(seed))
    for name in ("A-PERP", "B-PERP"):
        mine = [each for each in messages if each.instrument == name]
        assert all(each.effective_ms == each.ts_ms + FAST.notice_ms for each in mine)
        assert all(b.ts_ms - a.ts_ms >= FAST.step_ms for a, b in pairwise(mine))
        values = [ONE, *(parse(each.multiplier) for each in mine)]
        assert all(-FAST.max_down <= b - a <= FAST.max_up for a, b in pairwise(values))


def test_the_ambient_decimal_context_does_not_matter() -> None:
    """Another precision or rounding of the thread changes no digit."""
    records, found = tape(7), []

    def elsewhere() -> None:
        decimal.setcontext(decimal.Context(prec=5, rounding=decimal.ROUND_UP))
        found.append(folded(records))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join(30)
    assert found == [folded(records)]
    assert len(found[0]) > 10
