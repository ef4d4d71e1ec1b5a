"""The audit: nothing to say of a sound index, and the bucket that a broken one missed."""

from __future__ import annotations

from tests.support.script import Script


def overlooked(script: Script) -> list[tuple[int, str, str]]:
    """All that a whole round finds."""
    return [*script.engine.overlooked(10), *script.engine.overlooked(10)]


def test_a_bucket_that_was_found_is_not_overlooked() -> None:
    assert overlooked(Script().under()) == []


def test_a_healthy_bucket_is_not_overlooked() -> None:
    assert overlooked(Script().long()) == []


def test_what_the_index_lost_is_found() -> None:
    script = Script().long()
    script.engine._search.remove(("a-1", "BTC-PERP"))
    script.mark("905")
    assert script.orders == []
    assert overlooked(script) == [(0, "a-1", "BTC-PERP")]


def test_rounds_follow_each_other_and_new_accounts_join_the_next() -> None:
    script = Script().long()
    script.engine._search.remove(("a-1", "BTC-PERP"))
    script.mark("905")
    assert sum(len(script.engine.overlooked(1)) for _ in range(20)) == 10
