"""Account statements of the venue against the ledger, at the offsets that they name."""

from collections.abc import Mapping

from services.contracts.decimals import parse, to_text
from services.contracts.messages import AccountStatement
from services.engine.context import Context
from services.engine.effects import AlarmName
from services.engine.state import Account, Bucket, Doubt

Reading = tuple[tuple[str, str, int], ...]


def compare_statements(context: Context) -> None:
    """Each statement once everything it covers was read; one of an account that more was read of, or a fill of which waits to
    be entered, says nothing.
    """
    waiting = []
    for record, statement in context.statements:
        places = statement.through.items()
        if any(context.read.get((topic, record.partition), -1) < offset for topic, offset in places):
            waiting.append((record, statement))
            continue
        account = context.accounts.get(statement.account)
        if account is None:
            continue  # its partition was given up
        if not account.parked and all(account.seen.get(topic, (0, -1))[1] <= offset for topic, offset in places):
            for name in sorted({*account.buckets, *statement.balances, *statement.positions}):
                difference = _difference(account.buckets.get(name, Bucket(name)), statement)
                if difference:
                    _doubt(context, account, name, Doubt("statement", record.topic, record.offset, difference))
    context.statements = waiting


def note_read(context: Context, partition: int, seen: Mapping[str, int]) -> None:
    """Accounts were restored: what they saw was read, though not by this process. A quiet topic may say nothing for long."""
    for topic, offset in seen.items():
        place = topic, partition
        context.read[place] = max(offset, context.read.get(place, -1))


def forget_read(context: Context, partition: int) -> None:
    """The partition was given up: what comes back of it may be older, and is to be read again before it is compared."""
    context.statements = [each for each in context.statements if each[0].partition != partition]
    context.read = {place: offset for place, offset in context.read.items() if place[1] != partition}


def _doubt(context: Context, account: Account, name: str, doubt: Doubt) -> None:
    bucket = account.bucket(name)
    bucket.doubts[f"{doubt.topic}:{doubt.offset}"] = doubt
    context.touch(account, bucket)
    more = ", ".join(f"{subject} {to_text(amount)}" for _, subject, amount in doubt.alternative or ())
    context.alarm(
        AlarmName.STATEMENT_DIFFERS, f"the statement has more by {more}", account=account.account, bucket=name
    )


def _difference(bucket: Bucket, statement: AccountStatement) -> Reading:
    """What the statement has more than the ledger; positions by instrument, sides added up."""
    balances = {asset: -amount for asset, amount in bucket.balances.items()}
    for asset, text in statement.balances.get(bucket.name, {}).items():
        balances[asset] = balances.get(asset, 0) + parse(text)
    quantities: dict[str, int] = {}
    for (instrument, _), held in bucket.positions.items():
        quantities[instrument] = quantities.get(instrument, 0) - held.quantity
    for instrument, text in statement.positions.get(bucket.name, {}).items():
        quantities[instrument] = quantities.get(instrument, 0) + parse(text)
    changed = [("balance", asset, amount) for asset, amount in sorted(balances.items()) if amount]
    changed += [
        ("position", f"{instrument}|net", amount) for instrument, amount in sorted(quantities.items()) if amount
    ]
    return tuple(changed)
