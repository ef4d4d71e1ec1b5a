"""What a cap held back and was decided again stands in the journal, and is decided again alike from it."""

from __future__ import annotations

from services.contracts.codec import encode
from services.contracts.journal import Again, decode_journal
from services.engine.effects import Effect, Emit
from services.engine.pieces import whole
from services.engine.settings import Settings
from services.liquidator.journal import JournalledEngine
from tests.support.script import Script
from tests.unit.liquidator.fakes import FakeClock


def messages(effects: list[Effect]) -> list[bytes]:
    return [encode(effect.message) for effect in effects if isinstance(effect, Emit)]


def test_the_journal_says_what_was_decided_again() -> None:
    script, twin = (Script(reads_back=False).under().mark("905") for _ in range(2))
    place = (script.orders[0].account, script.orders[0].bucket, script.orders[0].order_id)
    written: list[bytes] = []
    journalled = JournalledEngine(script.engine, "s-1", Settings(), FakeClock(), lambda _, value: written.append(value))
    effects = whole(journalled.deciding_again([place]))
    (again,) = [entry for value in written for entry in decode_journal(value).inputs]
    assert again == Again([place])
    assert isinstance(again, Again)
    assert len(messages(effects)) == 1
    assert messages(twin.engine.decide_again(again.places)) == messages(effects)
