"""`/statusz`: bounded, collected once a second, without secrets, and without names for readers elsewhere."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from services.adapters.tracing import Arrived, NoTracing
from services.contracts.status import BUCKETS_SHOWN, PRICES_SHOWN, WorkerStatus
from services.contracts.views import BucketView
from services.liquidator.config import Config, load
from services.liquidator.order_watch import OrderWatch
from services.liquidator.status import VALUED, StatusPage, parameters
from tests.unit.liquidator.fakes import World, an_order


class BookEngine:
    """An engine with a book: (account, status, equity, maintenance) and (price id, age, grade)."""

    def __init__(self) -> None:
        self.book: list[tuple[str, str, str | None, str]] = []
        self.marks: list[tuple[str, int, str]] = []
        self.surveys = 0
        self.valued: list[str] = []

    def survey(self) -> Iterator[tuple[str, str, str]]:
        self.surveys += 1
        for account, status, _, _ in list(self.book):
            yield account, "main", status

    def view(self, account: str, bucket: str) -> BucketView | None:
        self.valued.append(account)
        found = next((row for row in self.book if row[0] == account), None)
        if found is None or found[1] == "gone":
            return None
        _, status, equity, maintenance = found
        return BucketView(
            account=account, bucket=bucket, client="c", margin_mode="cross", valuation_asset="USDT", status=status,
            equity=equity, initial_margin=None, maintenance_margin=maintenance, free_margin=None, maintenance_excess=None,
            liquidatable=False, balances={}, locked={}, positions=[], greeks=None, worst_scenario=None,
        )  # fmt: skip

    def price_views(self, now_ms: int) -> Iterator[tuple[str, str | None, int, str]]:
        for name, age_ms, grade in self.marks:
            yield name, "1.5", now_ms - age_ms, grade

    @property
    def census(self) -> SimpleNamespace:
        """Every bucket counts, also those that rest and are not surveyed."""
        return SimpleNamespace(statuses=Counter(status for _, status, _, _ in self.book if status != "closed"))

    def halts(self) -> dict[str, int]:
        return {"all": 0, "instrument": 2, "account": 0}

    def dirty_count(self, _: int) -> int:
        return 3


@pytest.fixture
def config(tmp_path: Path) -> Config:
    secret = tmp_path / "password"
    secret.write_text("hunter2")
    file = tmp_path / "ringfence.toml"
    file.write_text(
        f'[kafka]\nbootstrap = "broker.internal:9092"\n[redis]\nurl = "redis://redis.internal"\npassword_file = "{secret}"\n'
        '[worker]\ninstance = "w-1"\n'
    )
    return load(file)


class Page:
    def __init__(self, config: Config) -> None:
        self.world, self.engine = World(), BookEngine()
        self.orders = OrderWatch(self.world.clock, NoTracing())
        fake: Any = SimpleNamespace(lag=lambda: {"prices": 4})
        engine: Any = self.engine
        self.page = StatusPage(
            config, "settings", worker=self.world.worker, engine=engine, broadcast=fake, outbox=self.world.outbox,
            orders=self.orders, clock=self.world.clock, not_live=list, not_ready=lambda: ["no fresh price"],
        )  # fmt: skip


@pytest.fixture
def made(config: Config) -> Page:
    return Page(config)


async def test_it_is_json_that_its_reader_understands(made: Page) -> None:
    await made.world.live(0, 2)
    made.world.fill("a")
    await made.world.pump()
    status = msgspec.json.decode(await made.page.answer(name_accounts=True), type=WorkerStatus)
    assert (status.instance, status.settings_id, status.not_ready) == ("w-1", "settings", ["no fresh price"])
    assert [shard.partition for shard in status.shards] == [0, 2]
    shard = status.shards[0]
    assert (shard.deciding, shard.holds_claim, shard.caught_up, shard.reasons) == (True, True, True, [])
    assert shard.epoch == shard.claim == 0
    assert shard.next["fills"] == 1
    assert shard.dirty_rows == 3
    assert status.broadcast_lag == {"prices": 4}
    assert status.halts == {"all": 0, "instrument": 2, "account": 0}
    await made.world.die()


async def test_a_shut_shard_says_why(made: Page) -> None:
    await made.world.start(1)
    (shard,) = (await made.page.status()).shards
    assert not shard.deciding
    assert shard.reasons == ["claim", "recovering"]
    await made.world.die()


async def test_the_worst_buckets_first_and_few_of_them_valued(made: Page) -> None:
    made.engine.book = [
        ("fine", "healthy", "100", "1"), ("near", "warning", "12", "10"), ("nearer", "warning", "11", "10"),
        ("under", "bankrupt", "-5", "10"), ("deep", "bankrupt", "-50", "10"), ("riddle", "incomplete", None, "0"),
        ("flat", "closed", "0", "0"), *((f"w-{n:04}", "warning", "13", "10") for n in range(5_000)),
    ]  # fmt: skip
    status = await made.page.status()
    assert [each.account for each in status.worst[:4]] == ["deep", "under", "nearer", "near"]
    assert len(status.worst) == BUCKETS_SHOWN
    assert status.statuses == {"bankrupt": 2, "incomplete": 1, "warning": 5_002, "healthy": 1}
    assert len(made.engine.valued) == VALUED
    assert "fine" not in made.engine.valued


async def test_a_bucket_that_went_away_meanwhile_is_left_out(made: Page) -> None:
    made.engine.book = [("a", "warning", "1", "1")]
    made.engine.view = lambda *_: None  # type: ignore[method-assign]  # as after a revocation in between
    assert (await made.page.status()).worst == []


async def test_doubtful_and_old_prices_first_and_all_are_counted(made: Page) -> None:
    made.engine.marks = [
        ("new", 1, "valid"),
        ("old", 900, "valid"),
        ("late", 5_000, "stale"),
        ("odd", 2, "unconfirmed"),
    ]
    made.engine.marks += [(f"p-{n}", 5, "valid") for n in range(500)]
    status = await made.page.status()
    assert [price.instrument for price in status.prices[:3]] == ["odd", "late", "old"]
    assert len(status.prices) == PRICES_SHOWN
    assert status.price_grades == {"unconfirmed": 1, "stale": 1, "valid": 502}


async def test_many_readers_cost_one_collection_a_second(made: Page) -> None:
    await asyncio.gather(*(made.page.answer(name_accounts=True) for _ in range(20)))
    assert made.engine.surveys == 1
    made.world.clock.jump(1.5)
    await made.page.answer(name_accounts=True)
    assert made.engine.surveys == 2


async def test_others_may_run_while_a_large_book_is_walked(made: Page) -> None:
    made.engine.book = [(f"a-{n}", "healthy", "1", "1") for n in range(20_000)]
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.ensure_future(count())
    await made.page.status()
    counting.cancel()
    assert turns >= 10


async def test_readers_elsewhere_see_digests_of_accounts(made: Page) -> None:
    made.engine.book = [("alice", "warning", "1", "1")]
    made.orders.decided(an_order("alice", 1), Arrived("prices", 0, 0))
    assert b"alice" in await made.page.answer(name_accounts=True)
    hidden = msgspec.json.decode(await made.page.answer(name_accounts=False), type=WorkerStatus)
    assert hidden.accounts_hidden
    assert hidden.worst[0].account == hidden.orders[0].account
    assert hidden.worst[0].account.startswith("#")


async def test_no_secret_and_no_address_is_told(made: Page) -> None:
    text = (await made.page.answer(name_accounts=True)).decode()
    for secret in ("hunter2", "password", "internal"):
        assert secret not in text


def test_parameters_are_those_of_decisions(config: Config) -> None:
    shown = parameters(config)
    assert shown["engine.max_attempts"] == str(config.engine.max_attempts)
    assert shown["worker.max_account_lag_ms"] == "200"
    assert {name.partition(".")[0] for name in shown} == {"engine", "worker", "kafka"}


async def test_draining_is_told_and_bounded() -> None:
    """SIGTERM: not ready from the first moment on, and over within the time allowed though an order is not read back."""
    world = await World().live(0)
    world.worker._settings = replace(world.worker._settings, release_ms=100)
    world.worker.newest_ms["prices"] = world.clock.now_ms()
    assert world.worker.readiness(10_000) == []
    world.engine.under["a"] = 0
    world.broker.holding = True
    await world.worker.fold_broadcast([world.price()])
    started = asyncio.get_running_loop().time()
    stopping = asyncio.ensure_future(world.worker.stop())
    await asyncio.sleep(0)
    assert "stopping" in world.worker.readiness(10_000)
    assert not world.engine.gates[0]
    await stopping
    assert asyncio.get_running_loop().time() - started < 2
    await world.die()
