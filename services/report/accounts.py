"""The accounts that something happened to: what they held before and after, and every change of status."""

from collections import deque
from collections.abc import Callable
from typing import Any, Final

import msgspec
from msgspec import Struct

from services.contracts.messages import AccountState, Default
from services.contracts.views import BucketView

KEPT: Final = 300  # accounts told one by one; those with orders or deficits push out those without
FIRST_STATES, LAST_STATES = 15, 45  # changes of status told of each

View = Callable[[str, str], BucketView | None]
State = tuple[int, str, str | None, str, str | None, str | None]  # time, bucket, from, to, equity, maintenance margin


class Story(Struct, kw_only=True):
    """One account."""

    client: str
    buckets: dict[str, None] = msgspec.field(default_factory=dict)
    first_states: list[State] = msgspec.field(default_factory=list)
    last_states: deque[State] = msgspec.field(default_factory=lambda: deque(maxlen=LAST_STATES))
    states: int = 0
    before: dict[str, dict[str, Any]] = msgspec.field(default_factory=dict)  # bucket -> its view at its first order
    defaults: list[dict[str, Any]] = msgspec.field(default_factory=list)
    is_hit: bool = False


class Stories:
    """Stories of accounts, bounded in number and length."""

    def __init__(self) -> None:
        self._stories: dict[str, Story] = {}
        self._hit: set[str] = set()

    def state(self, state: AccountState) -> None:
        if (
            state.previous_status in {None, "closed"}
            and state.status == "healthy"
            and state.account not in self._stories
        ):
            return  # an account that only opened is no story
        story = self._story(state.account, state.client)
        if story is None:
            return
        line = (
            state.ts_ms, state.bucket, state.previous_status, state.status, state.equity, state.maintenance_margin,
        )  # fmt: skip
        story.buckets[state.bucket] = None
        story.states += 1
        if len(story.first_states) < FIRST_STATES:
            story.first_states.append(line)
        else:
            story.last_states.append(line)

    def ordered(self, account: str, client: str, bucket: str, view: View) -> None:
        """An order for the bucket; at its first, what the bucket holds before the order can act is kept."""
        self._hit.add(account)
        story = self._story(account, client, hit=True)
        if story is None:
            return
        story.buckets[bucket] = None
        if bucket not in story.before and (seen := view(account, bucket)) is not None:
            story.before[bucket] = msgspec.to_builtins(seen)

    def defaulted(self, default: Default) -> None:
        self._hit.add(default.account)
        story = self._story(default.account, default.client, hit=True)
        if story is not None and len(story.defaults) < LAST_STATES:
            story.defaults.append(msgspec.to_builtins(default))

    def payload(self, view: View) -> dict[str, Any]:
        """The stories with what every bucket holds at the end."""
        return {
            "stories": {name: self._told(name, story, view) for name, story in sorted(self._stories.items())},
            "left_out": len(self._hit - self._stories.keys()),
        }

    def _told(self, account: str, story: Story, view: View) -> dict[str, Any]:
        after = {name: seen for name in story.buckets if (seen := view(account, name)) is not None}
        return {
            "client": story.client,
            "is_hit": story.is_hit,
            "states": [*story.first_states, *story.last_states],
            "states_total": story.states,
            "defaults": story.defaults,
            "before": story.before,
            "after": {name: msgspec.to_builtins(seen) for name, seen in after.items()},
        }

    def _story(self, account: str, client: str, *, hit: bool = False) -> Story | None:
        story = self._stories.get(account)
        if story is None:
            if len(self._stories) >= KEPT and not (hit and self._make_room()):
                return None
            story = self._stories[account] = Story(client=client)
        story.is_hit = story.is_hit or hit
        return story

    def _make_room(self) -> bool:
        """Lets an account go that was never hit."""
        spare = next((name for name, story in self._stories.items() if not story.is_hit), None)
        if spare is None:
            return False
        del self._stories[spare]
        return True
