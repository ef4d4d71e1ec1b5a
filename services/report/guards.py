"""Guards that fired: alarms, refusals and operators' controls, by name over time, and the first of each in words."""

from collections import Counter
from typing import Any, Final

from services.contracts.messages import Control
from services.engine.effects import Alarm, DeadLetter
from services.report.grid import Grid, Sums

KEPT_EACH: Final = 100  # lines in the table for each name
NAMES: Final = 64
OTHERS: Final = "others"


class Guards:
    """Lanes by name: an alarm's own, `refused: reason`, `control: action`, `order: trigger` for guards that speak through orders."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._lanes: dict[str, Sums] = {}
        self._kept: Counter[str] = Counter()
        self._lines: list[dict[str, Any]] = []

    def alarm(self, place: int, now_ms: int, alarm: Alarm) -> None:
        where = "|".join(part for part in (alarm.account, alarm.bucket) if part)
        self._add(
            place,
            now_ms,
            alarm.name.value,
            account=alarm.account,
            subject=where or alarm.instrument,
            detail=alarm.detail,
        )

    def refused(self, place: int, now_ms: int, letter: DeadLetter) -> None:
        record = letter.record
        at = f"{record.topic}[{record.partition}]@{record.offset}"
        self._add(
            place,
            now_ms,
            f"refused: {letter.refusal.reason.value}",
            account="",
            subject=at,
            detail=letter.refusal.detail,
        )

    def control(self, place: int, now_ms: int, control: Control) -> None:
        detail = " ".join(part for part in (control.operator and f"by {control.operator}:", control.reason) if part)
        account = control.target if control.scope == "account" else ""
        self._add(
            place,
            now_ms,
            f"control: {control.action}",
            account=account,
            subject=f"{control.scope}:{control.target}",
            detail=detail,
        )

    def triggered(self, place: int, now_ms: int, trigger: str, account: str, subject: str) -> None:
        """An order that another rule than the maintenance margin asked for."""
        self._add(place, now_ms, f"order: {trigger}", account=account, subject=subject, detail="")

    def payload(self) -> dict[str, Any]:
        return {
            "lanes": [
                {"name": name, "total": int(lane.total), **lane.payload()}
                for name, lane in sorted(self._lanes.items(), key=lambda each: (-each[1].total, each[0]))
            ],
            "lines": self._lines,
            "kept_each": KEPT_EACH,
        }

    def _add(self, place: int, now_ms: int, name: str, *, account: str, subject: str, detail: str) -> None:
        if name not in self._lanes and len(self._lanes) >= NAMES:
            name = OTHERS
        if name not in self._lanes:
            self._lanes[name] = Sums(self._grid)
        self._lanes[name].add(place, 1)
        if self._kept[name] < KEPT_EACH:
            self._kept[name] += 1
            self._lines.append(
                {"ts_ms": now_ms, "name": name, "account": account, "subject": subject, "detail": detail}
            )
