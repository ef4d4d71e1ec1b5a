"""`deploy/capacity.md`: what one worker was measured to do, what is assumed of a venue, and what follows from both.

The rates are noted on the page itself, and everything else on it follows from them: `render(rates_on(page)) == page`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Final, NamedTuple, get_type_hints

import msgspec
from msgspec import Meta

PAGE: Final = Path(__file__).resolve().parents[2] / "deploy" / "capacity.md"
SIZES: Final = (1_000_000, 10_000_000, 100_000_000)
GIB, MIB, MB = 2**30, 2**20, 1e6
DAY_S: Final = 86_400

# What is assumed of a venue, for each account but where it says otherwise; and what is wanted of the workers.
POSITIONS = 2.5
INSTRUMENTS, TICKS_A_SECOND, STORM_TICKS = 500, 2, 5  # ticks of each instrument in a calm second; times that in a storm
FILLS_A_DAY, PEAK = 20, 20  # the busiest second has so many times the fills of the mean one
FUNDINGS_A_DAY, FUNDING_S = 3, 600  # each position's payment, all of them written within so many seconds
IDS = 100  # ids of fills and transfers that are remembered: at most 256 of each
LIQUIDATED = 0.01  # of the accounts, in one fall of 5 % of everything
BUSY = 0.6  # of a worker's core, at the peak
STORM_S, RESTART_S = 10, 30  # until the last order of the fall; until a worker decides again that restores its part
WORKER_GIB, PRIMARY_GIB = 8, 48
BROKERS_MB = 300  # a second, that the brokers take in and give out, copies among themselves left out
KEPT_DAYS, COPIES = 400, 3
MEASURED_INSTRUMENTS, MEASURED_IDS = 20, 3.5
SHARDS_A_WORKER = 4

_Measured = Annotated[float, Meta(ge=0)]


class Rates(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Of one worker, which is one thread. Microseconds and seconds are its processor time."""

    price_us: Annotated[_Measured, Meta(description="µs a price record, every worker reads all of them")]
    redraw_us: Annotated[
        _Measured,
        Meta(description="µs a price record more for each 100,000 buckets, with 20 instruments in a quiet market"),
    ]
    fill_us: Annotated[_Measured, Meta(description="µs a fill, from Kafka until it is durable in Redis")]
    order_us: Annotated[_Measured, Meta(description="µs an order, from the price until it was written and read back")]
    fall_s: Annotated[
        _Measured, Meta(description="s to look at every bucket in a fall of 5 %, for each 100,000 buckets")
    ]
    restore_s: Annotated[_Measured, Meta(description="s to read from Redis, check and take over 100,000 buckets")]
    worker_mib: Annotated[
        _Measured, Meta(description="MiB of a worker besides, with 10,000 accounts in use as objects")
    ]
    bucket_bytes: Annotated[_Measured, Meta(description="bytes of memory a bucket (slope), with 3.5 ids remembered")]
    redis_bytes: Annotated[
        _Measured, Meta(description="bytes of Redis an account with one bucket, with 3.5 ids remembered")
    ]
    id_bytes: Annotated[_Measured, Meta(description="bytes of Redis for each id more; as many of memory")]
    price_bytes: Annotated[_Measured, Meta(description="bytes in Kafka a price record")]
    fill_bytes: Annotated[_Measured, Meta(description="bytes in Kafka a fill")]
    transfer_bytes: Annotated[_Measured, Meta(description="bytes in Kafka a transfer")]
    order_bytes: Annotated[_Measured, Meta(description="bytes in Kafka an order")]
    state_bytes: Annotated[_Measured, Meta(description="bytes in Kafka a change of status")]
    journal_bytes: Annotated[_Measured, Meta(description="bytes of journal that a worker writes a second")]


class Load(NamedTuple):
    """What so many accounts ask for, whoever does it."""

    accounts: int
    prices: float  # records a second, in a storm
    fills: float  # a second, at the peak
    transfers: float  # a second, while funding is written
    orders: float  # of the fall
    memory: float  # bytes of all workers' buckets
    redis: float  # bytes


class Plan(NamedTuple):
    """What carries a load."""

    workers: int
    partitions: int


def load_of(rates: Rates, accounts: int) -> Load:
    more_ids = (IDS - MEASURED_IDS) * rates.id_bytes
    return Load(
        accounts=accounts,
        prices=INSTRUMENTS * TICKS_A_SECOND * STORM_TICKS,
        fills=accounts * FILLS_A_DAY / DAY_S * PEAK,
        transfers=accounts * POSITIONS / FUNDING_S,
        orders=accounts * LIQUIDATED,
        memory=accounts * (rates.bucket_bytes + more_ids),
        redis=accounts * (rates.redis_bytes + more_ids),
    )


def busy_with_prices(rates: Rates, load: Load) -> float:
    """The part of every worker's core that reading prices takes, however many there are."""
    return load.prices * rates.price_us / 1e6


def shared_work(rates: Rates, load: Load) -> float:
    """Cores that the rest takes at the peak: shared among the workers."""
    redraws = load.prices * rates.redraw_us * load.accounts / 1e5 * MEASURED_INSTRUMENTS / INSTRUMENTS
    return (redraws + (load.fills + load.transfers) * rates.fill_us) / 1e6


def storm_s(rates: Rates, load: Load) -> float:
    """Seconds of one core for the fall."""
    return load.accounts / 1e5 * rates.fall_s + load.orders * rates.order_us / 1e6


def restore_s(rates: Rates, load: Load) -> float:
    return load.accounts / 1e5 * rates.restore_s


def wanted(rates: Rates, load: Load) -> dict[str, float]:
    """Workers that each limit asks for."""
    free = BUSY - busy_with_prices(rates, load)
    return {
        "processor": shared_work(rates, load) / free if free > 0 else math.inf,
        "memory": load.memory / (WORKER_GIB * GIB - rates.worker_mib * MIB),
        "storm": storm_s(rates, load) / STORM_S,
        "restart": restore_s(rates, load) / RESTART_S,
    }


def plan_of(rates: Rates, load: Load) -> Plan:
    """Enough workers for every limit that workers can help."""
    workers = max(2, *(math.ceil(each) for each in wanted(rates, load).values() if each != math.inf))
    return Plan(workers, max(8, 2 ** math.ceil(math.log2(workers * SHARDS_A_WORKER))))


def kafka_in(rates: Rates, load: Load, workers: int) -> float:
    """Bytes a second that are written at the peak; the fall's orders and statuses over the time that it may take."""
    facts = load.fills * rates.fill_bytes + load.transfers * rates.transfer_bytes
    fallen = load.orders * (rates.order_bytes + rates.state_bytes) / STORM_S
    return load.prices * rates.price_bytes + facts + fallen + workers * rates.journal_bytes


def kafka_out(rates: Rates, load: Load, workers: int) -> float:
    """Bytes a second that the workers read: all prices each, the rest once; orders come back to them."""
    facts = load.fills * rates.fill_bytes + load.transfers * rates.transfer_bytes
    return workers * load.prices * rates.price_bytes + facts + load.orders * rates.order_bytes / STORM_S


def kept_bytes(rates: Rates, accounts: int) -> float:
    """Fills and transfers on the brokers' disks, copies included."""
    a_day = FILLS_A_DAY * rates.fill_bytes + POSITIONS * FUNDINGS_A_DAY * rates.transfer_bytes
    return accounts * a_day * KEPT_DAYS * COPIES


def strain(rates: Rates, load: Load, plan: Plan) -> dict[str, float]:
    """How full each limit is under a load that the plan may not have been made for: above 1 it broke."""
    of_workers = {name: workers / plan.workers for name, workers in wanted(rates, load).items()}
    flow = max(kafka_in(rates, load, plan.workers), kafka_out(rates, load, plan.workers))
    return of_workers | {
        "redis": load.redis / (PRIMARY_GIB * GIB),
        "kafka": flow / (BROKERS_MB * MB),
        "standby": (load.memory + rates.worker_mib * MIB) / (WORKER_GIB * GIB),
        "prices": busy_with_prices(rates, load) / BUSY,
    }


REMEDY: Final = {
    "processor": "the workers' processor at the peak of fills and funding: more workers, up to one a partition",
    "memory": "the workers' memory: more workers, or a smaller `engine.duplicate_window` where ids are long",
    "storm": "the time until the last order of a fall: more workers; each looks at its own buckets only",
    "restart": "the time that a lost worker's accounts wait: more workers, and a hot standby, which restores beforehand",
    "redis": "the memory of Redis: a worker talks to one primary, so above that the venue is cut into cells, each with its Redis, topics and accounts",
    "kafka": "the brokers' network: more brokers; most of it is prices, which every worker reads, so fewer and larger workers help too",
    "standby": "the memory of a hot standby, which holds all shards in one process: give it more memory, or go without and rely on restarts; cells bring it back",
    "prices": "reading prices, which more workers do not make less: conflate them before they are written, or cut the venue into cells by instrument",
}  # fmt: skip


def three(number: float) -> str:
    """Three significant digits, with thousands apart."""
    if number in (0, math.inf):
        return "no number" if number else "0"
    rounded = float(f"{number:.3g}")
    return f"{rounded:,.{max(0, 2 - math.floor(math.log10(abs(rounded))))}f}"


def rates_on(page: str) -> Rates:
    """The rates that a page notes."""
    noted = re.findall(r"^\| `(\w+)` \| ([\d,.]+) \|", page, re.MULTILINE)
    return msgspec.convert({name: float(value.replace(",", "")) for name, value in noted}, Rates)


def described() -> Iterator[tuple[str, str]]:
    """Name and meaning of each rate."""
    for name, hint in get_type_hints(Rates, include_extras=True).items():
        meta = next(m for m in hint.__metadata__ if isinstance(m, Meta) and m.description)
        assert meta.description is not None
        yield name, meta.description


Needs = list[tuple[str, Callable[[Rates, Load, Plan], str]]]
NEEDS: Final[Needs] = [
    ("price records a second, in a storm", lambda _, load, __: three(load.prices)),
    ("fills a second, at the peak", lambda _, load, __: three(load.fills)),
    ("transfers a second, while funding is written", lambda _, load, __: three(load.transfers)),
    ("**workers**", lambda _, __, plan: f"**{plan.workers:,}**"),
    ("… for processor / memory / storm / restart", lambda rates, load, _: " / ".join(three(w) for w in wanted(rates, load).values())),
    ("**partitions** of the account topics", lambda _, __, plan: f"**{plan.partitions:,}**"),
    ("memory of a worker, MiB", lambda rates, load, plan: three(rates.worker_mib + load.memory / plan.workers / MIB)),
    ("**Redis**, GiB (each copy)", lambda _, load, __: f"**{three(load.redis / GIB)}**"),
    ("… primaries of 48 GiB, so cells", lambda _, load, __: f"{cells(load):,}"),
    ("**Kafka**, MB/s in, before replication", lambda rates, load, plan: f"**{three(kafka_in(rates, load, plan.workers) / MB)}**"),
    ("… MB/s out to the workers", lambda rates, load, plan: three(kafka_out(rates, load, plan.workers) / MB)),
    ("… TB on disk: fills and transfers of 400 days, 3 copies", lambda rates, load, _: three(kept_bytes(rates, load.accounts) / 1e12)),
    ("**restart** of one worker, s, once it has its shards", lambda rates, load, plan: f"**{three(restore_s(rates, load) / plan.workers)}**"),
    ("fall of 5 %: s until the last order", lambda rates, load, plan: three(storm_s(rates, load) / plan.workers)),
    ("part of each worker's core that prices take", lambda rates, load, _: f"{busy_with_prices(rates, load):.0%}"),
]  # fmt: skip


def cells(load: Load) -> int:
    return math.ceil(load.redis / (PRIMARY_GIB * GIB))


def table(head: list[str], rows: Iterator[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def breaking(rates: Rates, index: int) -> Iterator[str]:
    """What gives way, first things first, when so many accounts come to the plan of the size before."""
    load = load_of(rates, SIZES[index])
    before, named = (Plan(2, 8), f"two workers of {WORKER_GIB} GiB (the chart gives them 2)")
    if index:
        before = plan_of(rates, load_of(rates, SIZES[index - 1]))
        named = f"what carries {SIZES[index - 1]:,} ({before.workers} workers)"
    full = sorted(strain(rates, load, before).items(), key=lambda each: -each[1])
    broken = [(name, how_full) for name, how_full in full if how_full > 1]
    yield f"**{SIZES[index]:,} accounts** on {named}" + (
        ":" if broken else f": nothing; fullest is {full[0][0]}, {full[0][1]:.0%}."
    )
    for number, (name, how_full) in enumerate(broken, 1):
        yield f"{number}. {three(how_full)} times what it can be, {REMEDY[name]}."
    yield ""


def render(rates: Rates) -> str:
    """The page."""
    loads = [load_of(rates, accounts) for accounts in SIZES]
    plans = [plan_of(rates, load) for load in loads]
    noted = table(
        ["rate", "measured", "is"],
        ([f"`{name}`", three(getattr(rates, name)), meaning] for name, meaning in described()),
    )
    needs = table(
        ["accounts", *(f"{accounts:,}" for accounts in SIZES)],
        ([name, *(say(rates, *each) for each in zip(loads, plans, strict=True))] for name, say in NEEDS),
    )
    wall = three(BUSY / rates.price_us * 1e6) if rates.price_us else three(math.inf)
    breaks = "\n".join(line for index in range(len(SIZES)) for line in breaking(rates, index))
    return TEMPLATE.format(noted=noted, needs=needs, breaks=breaks.rstrip(), wall=wall, **globals())


TEMPLATE: Final = """\
# Capacity

What one worker was measured to do, and how many it takes for 1, 10 and 100 million accounts. Written by `python -m tests.bench.capacity`, which measures
and takes some minutes; measure on your machines, since everything below follows from the first table. `--rates FILE` takes rates from elsewhere.

## Measured: one worker, one thread

Microseconds and seconds of processor time, so that other work on the machine shows less in them; yet it shows, and your core is another one. Kafka, Redis and the worker
shared two cores. Fills were written as fast as the broker took them, 2,500 accounts trading at a time.

{noted}

## Assumed: the venue

An account has one bucket of {POSITIONS} positions, {FILLS_A_DAY} fills a day, in the busiest second {PEAK} times as many as in a mean one, and {FUNDINGS_A_DAY} fundings a day for
each position, all of them written within {FUNDING_S} s, at the peak of fills. A transfer costs what a fill costs. {IDS} ids of fills and transfers are remembered (at most 256
of each: `engine.duplicate_window`). {INSTRUMENTS} instruments tick {TICKS_A_SECOND} times a second, {STORM_TICKS} times as often in a storm; positions are spread as ticks are. In a fall of 5 % of
everything {LIQUIDATED:.0%} of the accounts are liquidated, with one order each. Wanted: at most {BUSY:.0%} of a worker's core at the peak, the last order of the fall after
{STORM_S} s, a restarted worker's part restored after {RESTART_S} s, {WORKER_GIB} GiB for a worker, {PRIMARY_GIB} GiB for a Redis primary, {BROKERS_MB} MB/s for the brokers.
{SHARDS_A_WORKER} partitions or more for each worker, a power of two: their number cannot be changed later, so create them for the accounts to come.

## What it takes

{needs}

- Reading prices alone takes {BUSY:.0%} of a core at {wall} records a second: above that no number of workers helps, at any size.
- A price is evaluated in one go, whatever it makes due: in a deep fall of many accounts that is a second or more, in which a worker sends nothing and answers nobody. More
  workers make it shorter.
- Not in the table: the recorder and other readers of Kafka; the `kafka.session_timeout_ms` (6 s) before a lost worker's shards go elsewhere; reading what was written to
  Kafka meanwhile; options in portfolio mode (each bucket is repriced under every scenario: `make bench ARGS=portfolio`).
- Nothing above 200,000 buckets in one engine and 10,000 in one worker was run for this page: what is beyond is arithmetic, on the assumption that workers share nothing but
  the brokers and Redis.

## What breaks first, and what to do then

{breaks}
"""
