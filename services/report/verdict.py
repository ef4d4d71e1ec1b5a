"""The first thing that a reader wants to know, in words."""

from typing import Any, Final

LONGEST: Final = 5  # assets named in a deficit


def verdict(summary: dict[str, Any]) -> dict[str, str]:
    """`held` "yes" or "no", a `title` of a few words, and a `text` of whole sentences; from the summary line of a replay."""
    orders, negative = summary["orders"], summary["negative_buckets"]
    liquidated = summary["liquidated_buckets"]
    is_blind = bool(summary["buckets"]) and summary["lowest_equity"] is None and not orders
    if is_blind:
        title = "Cannot be judged: no bucket could be valued"
        text = "Accounts, instruments, collateral or prices are missing: the recording begins after them, or lacks their topics."
    elif not orders and not negative:
        title, text = "No order was needed", "No bucket came under its maintenance margin while it could be ordered."
    elif not negative:
        title = "Held: no bucket went below zero"
        text = f"{_count(liquidated, 'bucket was', 'buckets were')} closed or reduced by {_count(orders, 'order', 'orders')}."
    else:
        title = f"Not held: {_count(negative, 'bucket', 'buckets')} went below zero"
        text = (
            f"{_count(liquidated, 'bucket was', 'buckets were')} ordered to be closed or reduced, "
            f"by {_count(orders, 'order', 'orders')}."
        )
    return {
        "held": "no" if negative or is_blind else "yes",
        "title": title,
        "text": text if is_blind else f"{text} {_missing(summary)} {_lowest(summary)}",
    }


def _missing(summary: dict[str, Any]) -> str:
    deficit: dict[str, str] = summary["deficit"]
    if not deficit:
        return "No deficit is left."
    named = [f"{amount} {asset}" for asset, amount in deficit.items()]
    more = f" and {len(named) - LONGEST} more assets" if len(named) > LONGEST else ""
    return f"Missing money: {', '.join(named[:LONGEST])}{more}."


def _lowest(summary: dict[str, Any]) -> str:
    if summary["lowest_equity"] is None:
        return "No bucket could be valued."
    return f"The lowest equity of any bucket at any time was {summary['lowest_equity']}, in {summary['lowest_equity_bucket']}."


def _count(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
