"""The capacity page says what follows from the rates that it notes, and the arithmetic is right where it can be done by hand."""

from __future__ import annotations

import math

import msgspec
import pytest

from tests.bench.capacity_page import (
    GIB,
    PAGE,
    Plan,
    Rates,
    busy_with_prices,
    kafka_out,
    load_of,
    plan_of,
    rates_on,
    render,
    strain,
    three,
    wanted,
)

NOTHING = Rates(**dict.fromkeys(Rates.__struct_fields__, 0.0))
MILLION = 1_000_000


def having(**rates: float) -> Rates:
    return msgspec.structs.replace(NOTHING, **rates)


def test_the_page_follows_from_the_rates_that_it_notes() -> None:
    page = PAGE.read_text()
    assert render(rates_on(page)) == page


@pytest.mark.parametrize("rate", Rates.__struct_fields__)
def test_a_rate_that_was_changed_by_hand_is_caught(rate: str) -> None:
    page = PAGE.read_text()
    rates = rates_on(page)
    noted, changed = getattr(rates, rate), getattr(rates, rate) * 8 + 100
    edited = page.replace(f"| `{rate}` | {three(noted)} |", f"| `{rate}` | {three(changed)} |")
    assert edited != page
    assert render(rates_on(edited)) != edited


def test_no_work_takes_two_workers() -> None:
    assert plan_of(NOTHING, load_of(NOTHING, MILLION)) == Plan(2, 8)


@pytest.mark.parametrize(
    ("rates", "limit", "workers"),
    [
        (having(restore_s=6), "restart", 2),  # 60 s of restoring, 30 s wanted
        (having(fall_s=2), "storm", 2),  # 20 s for a fall, 10 s wanted
        (having(order_us=4_000), "storm", 4),  # 10,000 orders, 40 s
        (having(bucket_bytes=8 * GIB / MILLION), "memory", 1),
        (
            having(fill_us=100),
            "processor",
            (4629.63 + 4166.67) * 1e-4 / 0.6,
        ),  # 20 fills a day, 20 times the mean; funding
        (
            having(price_us=60, fill_us=100),
            "processor",
            (4629.63 + 4166.67) * 1e-4 / 0.3,
        ),  # 5,000 prices: 0.3 of a core
        (having(redraw_us=30), "processor", 5_000 * 30e-6 * 10 * 20 / 500 / 0.6),  # 10 times 100,000 buckets
    ],
)
def test_workers_by_hand(rates: Rates, limit: str, workers: float) -> None:
    load = load_of(rates, MILLION)
    assert wanted(rates, load)[limit] == pytest.approx(workers, rel=1e-5)
    assert sum(wanted(rates, load).values()) == pytest.approx(workers, rel=1e-5)


def test_prices_that_take_all_of_a_core_are_helped_by_no_number_of_workers() -> None:
    rates = having(price_us=120, fill_us=1)
    load = load_of(rates, MILLION)
    assert busy_with_prices(rates, load) == 0.6
    assert wanted(rates, load)["processor"] == math.inf
    assert strain(rates, load, Plan(2, 8))["prices"] == 1


def test_every_worker_reads_all_prices_and_its_part_of_the_rest() -> None:
    rates = having(price_bytes=100, fill_bytes=200)
    load = load_of(rates, MILLION)
    more = kafka_out(rates, load, 5) - kafka_out(rates, load, 4)
    assert more == pytest.approx(5_000 * 100)
    assert kafka_out(rates, load, 4) == pytest.approx(4 * 5_000 * 100 + 4629.63 * 200)


def test_ids_that_are_remembered_take_memory_and_redis() -> None:
    rates = having(id_bytes=20, bucket_bytes=400, redis_bytes=500)
    load = load_of(rates, MILLION)
    assert (load.memory, load.redis) == ((400 + 96.5 * 20) * MILLION, (500 + 96.5 * 20) * MILLION)


def test_partitions_are_a_power_of_two_with_room_for_four_times_the_workers() -> None:
    rates = having(restore_s=27)  # 270 s of restoring: nine workers
    assert plan_of(rates, load_of(rates, MILLION)) == Plan(9, 64)


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (0.012345, "0.0123"), (9.999, "10.0"), (1234.5, "1,230"), (98.76, "98.8"), (100, "100")],
)
def test_three_digits(number: float, text: str) -> None:
    assert three(number) == text


def test_the_readme_of_the_deployment_names_the_page() -> None:
    assert "(capacity.md)" in (PAGE.parent / "README.md").read_text()
