"""A published rise of a multiplier: what it will make liquidatable is known before it takes effect, and decides nothing."""

from __future__ import annotations

from services.contracts.decimals import ONE
from services.engine.notice import SLICE, ComingRise
from tests.support.script import Script


def rises(script: Script) -> list[tuple[str, int, int, int]]:
    def told(rise: ComingRise) -> tuple[str, int, int, int]:
        return rise.instrument, rise.notional // ONE, rise.buckets, rise.unchecked

    return [told(each) for each in script.engine.coming_rises()]


def publish(script: Script, multiplier: str, notice_ms: int = 5_000) -> Script:
    content = {"instrument": "BTC-PERP", "multiplier": multiplier, "effective_ms": script.now + notice_ms}
    return script.put("risk-parameters", content)


def test_what_a_rise_will_make_liquidatable_is_told_before_it_does() -> None:
    """At 915, 15 of equity over 9.15: twice that is too much. Nothing is ordered until it holds."""
    script = publish(Script().long().mark("915"), "2").forget()
    assert rises(script) == [("BTC-PERP", 915, 1, 0)]
    script.wait(4_999).check_nothing()
    script.wait(1).check_reference()
    assert [order.maintenance_margin for order in script.orders] == ["18.3"]
    assert not rises(script)
    assert script.engine.stats.newly_liquidatable["BTC-PERP"] == 915 * ONE


def test_a_rise_that_harms_nobody_says_so() -> None:
    """1.6 times 9.15 is less than 15. A fall, and a rise of what is higher by then anyway, are no rises."""
    script = publish(Script().long().mark("915"), "1.6")
    assert rises(script) == [("BTC-PERP", 0, 0, 0)]
    publish(publish(script, "0.5"), "1.6", 6_000)
    assert len(rises(script)) == 1


def test_each_rise_tells_what_it_adds() -> None:
    """The first makes it liquidatable; the second would, too, but then it already is."""
    script = publish(publish(Script().long().mark("915"), "2"), "3", 6_000)
    assert [(notional, buckets) for _, notional, buckets, _ in rises(script)] == [(915, 1), (0, 0)]


def test_a_bucket_that_is_liquidatable_already_is_not_newly_so() -> None:
    script = publish(Script().under(), "2")
    assert rises(script) == [("BTC-PERP", 0, 0, 0)]


def test_many_buckets_are_looked_at_in_slices_that_timers_carry_on() -> None:
    """No record and no timer values more than a slice."""
    count = SLICE + 6
    script = Script().instrument().mark("1000")
    for number in range(count):
        name = f"a-{number}"
        script.account("isolated", name).transfer("100", account=name, transfer_id=name)
        script.fill("buy", "1", "1000", account=name, fill_id=name)
    publish(script.wait(1_000).mark("915"), "2")
    assert rises(script) == [("BTC-PERP", 915 * SLICE, SLICE, 6)]
    script.engine.timer(script.now + 100)
    assert rises(script) == [("BTC-PERP", 915 * count, count, 0)]
