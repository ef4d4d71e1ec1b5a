"""What a recording comes to: `python -m tests.recordings.report NAME` or a file; one JSON line, and one for each negative bucket.

The recording is replayed in this process with matching `next`; if buckets went negative it is replayed once more to look at each
of them right before. A cause is one of
- gap: above its maintenance margin before a tick of its instruments, below zero after it; no monitor acts in between;
- collateral: the same with a price of what it holds as margin;
- late price: the tick had been held back as a jump, and at its first appearance the bucket was not yet past bankruptcy;
- unfilled: an order was out, and the next price was worse than its limit (which never is worse than bankruptcy);
- other leg: an order was out for one position, and the price of another took the bucket below zero;
- fill: an execution cost more than the equity;
- no order: liquidatable, and nothing was out (a doubtful price or an unsettled account held it).
"""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import orjson

from services.adapters.presets import load_presets
from services.adapters.recordings import read_file
from services.contracts.codec import decode
from services.contracts.decimals import ONE, parse
from services.contracts.messages import Order
from services.contracts.records import Record
from services.contracts.views import BucketView, PositionView
from services.engine.engine import Engine
from services.engine.settings import Settings
from services.replay.choices import Matching
from services.replay.runner import Runner
from tests.recordings.catalogue import RECORDINGS
from tests.recordings.probe import Key, Moment, Probe, Tally, Tick
from tests.recordings.writing import Missing, default_data

THIN_MOVE: Final = ONE // 20  # a print this far from both neighbours is thin
THIN_MS: Final = 2_000
NOTED: Final = 10**6


def watched(records: Sequence[Record], settings: Settings, asked: dict[int, list[Key]] | None = None) -> Probe:
    """One replay of `records` with matching `next`."""
    probe = Probe(Engine(settings, load_presets(), observe=True), asked)
    runner = Runner(probe, Matching.NEXT, settle_ms=settings.account_settle_ms)
    for _ in runner.run(records):
        pass
    return probe


def report(name: str, records: Sequence[Record], settings: Settings | None = None) -> list[dict[str, Any]]:
    """The summary, then a row for each negative bucket."""
    chosen = Settings() if settings is None else settings
    started = perf_counter()
    probe = watched(records, chosen)
    seconds = perf_counter() - started
    moments = watched(records, chosen, probe.first_negative).moments if probe.first_negative else []
    liquidated = {(order.account, order.bucket) for order in probe.tally.orders.values()}
    tally, negatives = probe.tally, [explained(moment) for moment in moments]
    summary = {
        "recording": name,
        "records": len(records),
        "seconds": round(seconds, 1),
        "records_per_s": round(len(records) / seconds),
        "accounts": len({account for account, _ in probe.places()}),
        "buckets": sum(1 for _ in probe.places()),
        "orders": len(tally.orders),
        "stages": dict(tally.stages),
        "liquidated_buckets": dict(
            Counter(view.margin_mode for view in probe.buckets() if (view.account, view.bucket) in liquidated)
        ),
        "lowest_equity": probe.lowest_equity,
        "lowest_equity_bucket": probe.lowest_equity_bucket,
        "negative_buckets": len(probe.negative_buckets),
        "causes": dict(Counter(row["cause"] for row in negatives)),
        "alarms": dict(tally.alarms),
        "dead_letters": tally.dead_letters,
        **prices_of(tally, probe.stats.skipped_prices),
        **wrongful(tally),
    }
    return [summary, *negatives]


def explained(moment: Moment) -> dict[str, Any]:
    """The row of one negative bucket."""
    before, after = moment.before, moment.after
    return {
        "bucket": "|".join(moment.key),
        "cause": cause_of(moment),
        "at_ms": moment.now_ms,
        "price": moment.price_id,
        "marks": {p.instrument: [_mark_before(before, p.instrument), p.mark_price] for p in after.positions},
        "bankruptcy": {p.instrument: p.bankruptcy_price for p in (before.positions if before else ())},
        "equity": [before.equity if before else None, after.equity],
        "maintenance_margin": before.maintenance_margin if before else None,
        "limits": {order.instrument: order.limit_price for order in moment.open_orders},
        "valuation_asset": after.valuation_asset,
    }


def cause_of(moment: Moment) -> str:
    """See the head of this module."""
    if moment.is_fill:
        return "fill"
    before = moment.before
    if before is None or before.equity is None:
        return "no order"
    moved = [p for p in moment.after.positions if p.mark_price != _mark_before(before, p.instrument)]
    if not moved and moment.price_id not in {p.instrument for p in moment.after.positions}:
        return "collateral"
    if not before.liquidatable:
        return "late price" if any(_was_held(moment, before, position) for position in moved) else "gap"
    if not moment.open_orders:
        return "no order"
    ordered = {order.instrument for order in moment.open_orders}
    return "unfilled" if any(p.instrument in ordered for p in moved) or not moved else "other leg"


def _was_held(moment: Moment, before: BucketView, position: PositionView) -> bool:
    """Whether the new mark is a jump that first showed itself at a price at which the bucket had something left."""
    first = moment.jumps.get(position.instrument)
    if first is None or moment.price_id is not None:
        return False  # a jump that is confirmed by time alone comes with a timer or its own next tick
    line = next((p.bankruptcy_price for p in before.positions if p.instrument == position.instrument), None)
    if line is None:
        return False
    return first > parse(line) if not position.quantity.startswith("-") else first < parse(line)


def _mark_before(before: BucketView | None, instrument: str) -> str | None:
    return next((p.mark_price for p in (before.positions if before else ()) if p.instrument == instrument), None)


def prices_of(tally: Tally, skipped: int) -> dict[str, Any]:
    """How good the prices were: older ones that were skipped, late ones, and for how long each source said nothing."""
    silences = {}
    for price_id, ticks in tally.ticks.items():
        limit = tally.max_age_ms.get(price_id, 60_000)
        gaps = [later.arrived_ms - tick.ts_ms for tick, later in pairwise(ticks[1:])]
        spells = [gap for gap in gaps if gap > limit]
        if spells:
            silences[price_id] = {"spells": len(spells), "longest_s": round(max(spells) / 1000)}
    return {
        "skipped_older_prices": skipped,
        "late_over_1s": sum(tally.late.values()),
        "latest_s": round(tally.latest_ms / 1000, 1),
        "stale": silences,
    }


def wrongful(tally: Tally) -> dict[str, int]:
    """Orders that the true last prices do not justify: on a thin print, on a stale price of their own, or without a breach."""
    thin = {price_id: thin_prints(ticks) for price_id, ticks in tally.ticks.items()}
    arrivals = {price_id: {tick.offset: tick for tick in ticks} for price_id, ticks in tally.ticks.items()}
    on_thin = stale = unfounded = 0
    for order in tally.orders.values():
        rests_on = {price_id: place[1] for price_id, place in (order.evidence.prices or {}).items()}
        on_thin += any(offset in thin.get(price_id, ()) for price_id, offset in rests_on.items())
        own = arrivals.get(order.instrument, {}).get(rests_on.get(order.instrument, -1))
        stale += own is not None and order.ts_ms - own.ts_ms > tally.max_age_ms.get(order.instrument, NOTED)
        unfounded += _is_unfounded(order)
    return {"orders_on_thin_prints": on_thin, "orders_on_stale_prices": stale, "orders_without_breach": unfounded}


def _is_unfounded(order: Order) -> bool:
    """An order that names no breach: its own numbers contradict its trigger."""
    equity, maintenance = parse(order.equity), parse(order.maintenance_margin)
    return order.trigger == "maintenance_breach" and equity >= maintenance


def thin_prints(ticks: Sequence[Tick]) -> set[int]:
    """Offsets of ticks that stand alone: far from the tick before, and the market back there with the next, within seconds."""
    found = set()
    for before, tick, after in zip(ticks, ticks[1:], ticks[2:], strict=False):
        if before.mark is None or tick.mark is None or after.mark is None:
            continue
        away = abs(tick.mark - before.mark) * ONE > THIN_MOVE * before.mark
        back = abs(after.mark - before.mark) * 2 * ONE < THIN_MOVE * before.mark
        if away and back and after.arrived_ms - tick.arrived_ms <= THIN_MS:
            found.add(tick.offset)
    return found


def _account_of(record: Record) -> str | None:
    account: str | None = getattr(decode(record.topic, record.value), "account", None)
    return account


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recording", help=f"one of {', '.join(RECORDINGS)}, or a file")
    parser.add_argument("--data", type=Path, default=default_data(), help="the folder that holds market/")
    parser.add_argument("--accounts", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    about = "only what was received from then on and before then, milliseconds since 1970"
    parser.add_argument("--window", type=int, nargs=2, metavar=("FROM_MS", "TO_MS"), help=about)
    parser.add_argument(
        "--only", nargs="+", metavar="ACCOUNT", help="of those made only these accounts, for a closer look"
    )
    arguments = parser.parse_args()
    try:
        recipe = RECORDINGS.get(arguments.recording)
        window = None if arguments.window is None else (arguments.window[0], arguments.window[1])
        made = recipe.records(arguments.data, arguments.accounts, arguments.seed, window) if recipe else None
        records = list(read_file(arguments.recording) if made is None else made)
    except Missing as missing:
        print(missing, file=sys.stderr)
        return 0
    if arguments.only:
        records = [record for record in records if _account_of(record) in {None, *arguments.only}]
    for row in report(arguments.recording, records):
        print(orjson.dumps(row).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main())
