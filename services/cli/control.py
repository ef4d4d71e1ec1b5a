"""`ringfence control`: an operator's halt, resume and clear, written to the topic that every worker reads."""

from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from services.cli.output import ExitCode, note, stop
from services.cli.topics import ConfigFile

if TYPE_CHECKING:
    from services.contracts.messages import Control

app = typer.Typer(
    help="Halt liquidations, resume them, or clear doubts: for operators.\n\nExample: ringfence control halt --scope instrument --target BTC-PERP",
    no_args_is_help=True,
)

MOST_MINUTES: Final = 525_600  # a year

Scope = Annotated[
    Literal["instrument", "account", "all"], typer.Option("--scope", help="What kind of thing --target names.")
]
Target = Annotated[str | None, typer.Option("--target", help="Its id; of scope all: none.", show_default=False)]
Why = Annotated[str | None, typer.Option("--reason", help="For those who read the topic later.", show_default=False)]
Who = Annotated[str | None, typer.Option("--operator", help="Your id.", show_default=False)]
Minutes = Annotated[
    float | None,
    typer.Option(
        "--minutes", min=0.01, max=MOST_MINUTES, help="The halt ends by itself after so long.", show_default=False
    ),
]
Through = Annotated[
    list[str] | None,
    typer.Option("--through", metavar="TOPIC=OFFSET", help="Only doubts up to this offset of the account's partition."),
]


@app.command()
def halt(
    *, scope: Scope, target: Target = None, minutes: Minutes = None, reason: Why = None, operator: Who = None,
    config: ConfigFile = None,
) -> None:  # fmt: skip
    """Order nothing for an account, nothing that rests on an instrument's mark, or nothing at all, until resumed.

    Buckets under their maintenance margin stay so, and lose more. Halt what is doubtful and no more.

    Example: ringfence control halt --scope instrument --target BTC-PERP --minutes 15 --reason 'feed in doubt'
    """
    _publish("halt", scope, target, config, minutes=minutes, reason=reason, operator=operator)


@app.command()
def resume(
    *, scope: Scope, target: Target = None, reason: Why = None, operator: Who = None, config: ConfigFile = None
) -> None:
    """End a halt of the same scope and target. What is due by then is ordered at once; a shard halted by a malfunction goes on.

    Example: ringfence control resume --scope instrument --target BTC-PERP
    """
    _publish("resume", scope, target, config, reason=reason, operator=operator)


@app.command()
def clear(
    *, scope: Scope, target: Target = None, through: Through = None, reason: Why = None, operator: Who = None,
    config: ConfigFile = None,
) -> None:  # fmt: skip
    """Settle doubts about the ledger of an account, or of all, once a person has found the ledger to be right.

    Without --through every doubt is settled that a worker knows of when it reads this.

    Example: ringfence control clear --scope account --target a-17 --through fills=20431
    """
    offsets = dict(_offset(text) for text in through or ()) or None
    _publish("clear", scope, target, config, through=offsets, reason=reason, operator=operator)


def _publish(
    action: str, scope: str, target: str | None, config: Path | None, *, minutes: float | None = None, **more: Any
) -> None:
    """Write one control and wait until all in-sync replicas have it."""
    import asyncio
    import uuid

    from services.adapters.clock import SystemClock
    from services.adapters.ports import Unreachable
    from services.contracts.codec import decode, encode
    from services.contracts.messages import Control
    from services.contracts.refusals import Refusal
    from services.liquidator.config import Misconfigured, load

    if minutes is not None and isnan(minutes):
        stop("--minutes nan: expected a number", ExitCode.WRONG_USE)  # which no range of an option excludes
    if (scope == "all") != (target is None):
        stop("scope all takes no --target, every other scope needs one", ExitCode.WRONG_USE)
    now_ms = SystemClock().now_ms()
    message = Control(
        control_id=f"c-{uuid.uuid4().hex}", scope=scope, target=target or "*", action=action, ts_ms=now_ms,  # type: ignore[arg-type]  # typer admits these words only
        expires_ms=None if minutes is None else now_ms + round(minutes * 60_000), **more,
    )  # fmt: skip
    if isinstance(checked := decode("controls", encode(message)), Refusal):
        stop(f"{checked.reason}: {checked.detail}", ExitCode.WRONG_USE)
    try:
        offset, unknown = asyncio.run(_send(load(config), message))
    except Misconfigured as error:
        stop(str(error), ExitCode.WRONG_USE)
    except Unreachable as error:
        stop(str(error), ExitCode.UNREACHABLE)
    typer.echo(f"{action} of {scope} {message.target} written at offset {offset}")
    if unknown:
        note(f"no record of the instruments speaks of {message.target}: is it spelt as they spell it?")


async def _send(config: Any, message: "Control") -> tuple[int, bool]:
    """Its offset, and whether its target is an instrument that nobody knows. It is written first: a halt waits for nothing."""
    import asyncio

    from aiokafka.errors import KafkaError

    from services.adapters.kafka_producer import KafkaProducer
    from services.adapters.ports import Outgoing, Unreachable
    from services.contracts.codec import encode

    topic = f"{config.kafka.topic_prefix}controls"
    producer = KafkaProducer(config.kafka.connection("ringfence-control"))
    await producer.start()
    try:
        key = f"{message.scope}:{message.target}".encode()
        async with asyncio.timeout(config.kafka.request_timeout_ms / 1000):
            (sent,) = await producer.send([Outgoing(topic, 0, key, encode(message))])
            offset = await sent.first
        return offset, message.scope == "instrument" and not await _knows(config, message.target)
    except (KafkaError, TimeoutError) as error:
        raise Unreachable(f"{topic} did not take the record, or nobody said so: {error!r}") from error
    finally:
        await producer.close()


async def _knows(config: Any, instrument: str) -> bool:
    from services.adapters.ports import Unreachable
    from services.adapters.topic_reader import read_whole
    from services.contracts.codec import decode
    from services.contracts.messages import Instrument

    try:
        records = await read_whole(
            config.kafka.connection("ringfence-control"), f"{config.kafka.topic_prefix}instruments"
        )
    except Unreachable:
        return True  # the record is written, and that is what was asked for
    messages = (decode("instruments", record.value) for record in records)
    return any(isinstance(message, Instrument) and message.instrument == instrument for message in messages)


def _offset(text: str) -> tuple[str, int]:
    topic, equals, offset = text.partition("=")
    if not equals or not offset.isdecimal() or int(offset) >= 2**63:
        stop(f"--through {text}: expected TOPIC=OFFSET", ExitCode.WRONG_USE)
    return topic, int(offset)
