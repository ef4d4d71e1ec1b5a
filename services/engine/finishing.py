"""What follows when an event is folded: leftovers, review, decisions worst first, changes of status, rest. In pieces."""

from collections.abc import Callable, Iterator
from typing import Any, Final

from services.engine import orders
from services.engine.context import Context
from services.engine.decisions import Decider
from services.engine.pieces import (
    DECISION,
    GATHER,
    RANK,
    REST,
    REVIEW,
    SETTLE,
    Pace,
    Steps,
    in_order,
    one_by_one,
)
from services.engine.search import Search
from services.engine.state import Account, Bucket, BucketKey
from services.engine.valuation import Valuation
from services.engine.worth import Incomplete

Rank = tuple[Any, ...]
Found = tuple[Account, Bucket, Valuation | Incomplete]
Breached = tuple[Rank, Account, Bucket, Valuation]
TRIED: Final = 16  # accounts that are tried at a time, whether they may rest


class Finishing:
    """The buckets themselves are reviewed, settled and ranked by the engine; here is in which order, and how much at a time.

    Between two pieces every bucket is whole: nothing is said of one that its state does not hold.
    """

    def __init__(
        self, context: Context, search: Search, decider: Decider, under: dict[BucketKey, None], *,
        review: Callable[[Account, Bucket], Valuation | Incomplete | None],
        settle: Callable[[Account, Bucket, Valuation | Incomplete], None],
        urgency: Callable[[Account, Bucket, Valuation], Rank],
    ) -> None:  # fmt: skip
        self._context = context
        self._search = search
        self._decider = decider
        self._under = under
        self._review = review
        self._settle = settle
        self._urgency = urgency

    def is_due(self) -> bool:
        """Whether there is anything to do: after most ticks no box was left."""
        context = self._context
        return bool(context.touched or context.unanswered or context.later or context.stepped)

    def steps(self, pace: Pace) -> Steps:
        """Send unanswered orders again; value every touched bucket; decide worst first; then tell changes of status."""
        context, acute, reviewed = self._context, list[Found](), 0
        yield from self._leftovers(pace)
        yield from self._resend(pace)
        for key in (yield from in_order(self._touched(), GATHER, pace)):
            found, reviewed = context.find(key), reviewed + 1
            if found is not None and (valuation := self._review(*found)) is not None:
                acute.append((*found, valuation))
            if pace.spent(REVIEW):
                yield
        context.stepped.clear()
        for _, account, bucket, valuation in (yield from in_order(self._breached(acute), RANK, pace)):
            self._decider.decide(account, bucket, valuation)
            if pace.spent(DECISION):
                yield
        yield from one_by_one(acute, lambda found: self._settle(*found), SETTLE, pace)
        yield from self._put_to_rest(reviewed, pace)

    def _leftovers(self, pace: Pace) -> Steps:
        """What folding left, as it may be much; it may leave more itself."""
        later = self._context.later
        while later:
            yield from later.popleft()(pace)

    def _touched(self) -> Iterator[BucketKey]:
        """Every bucket to be reviewed, once; of accounts that were at rest all of them."""
        touched, accounts = self._context.touched, self._context.accounts
        while touched:
            key, _ = touched.popitem()
            if key[0] in accounts.awake or accounts.get(key[0]) is None:
                yield key  # else it woke just now: its buckets were touched by that

    def _breached(self, acute: list[Found]) -> Iterator[Breached]:
        for account, bucket, valuation in acute:
            if isinstance(valuation, Valuation) and (account.account, bucket.name) in self._under:
                yield self._urgency(account, bucket, valuation), account, bucket, valuation

    def _resend(self, pace: Pace) -> Steps:
        """Orders whose answer is overdue, once neither gate nor halt forbids it; the next wait is twice as long."""
        if self._context.unanswered:
            subjects = yield from in_order(list(self._context.unanswered), GATHER, pace)
            yield from one_by_one(subjects, self._resend_one, SETTLE, pace)

    def _resend_one(self, subject: tuple[str, str, str]) -> None:
        context = self._context
        found = context.find(subject[:2])
        order = None if found is None else found[1].orders.get(subject[2])
        if found is None or order is None or order.terminal or order.content is None:
            del context.unanswered[subject]
            return
        account, bucket = found
        due_ms = orders.answer_due_ms(context, order)
        if context.now_of(account) >= due_ms:
            if not context.may_order(account):
                return
            self._decider.resend(account, bucket, order)
            due_ms = orders.answer_due_ms(context, order)
        del context.unanswered[subject]
        context.timers.at(due_ms, "order", *subject)

    def _put_to_rest(self, reviewed: int, pace: Pace) -> Steps:
        """Those that were not used for longest, as many as were reviewed."""
        accounts = self._context.accounts
        tries = accounts.tries(reviewed)
        while tries > 0:
            for account in accounts.tired(min(tries, TRIED)):
                if not any((account.account, name) in self._under for name in account.buckets):
                    self._search.rest(account)
            tries -= TRIED
            if pace.spent(TRIED * REST):
                yield
