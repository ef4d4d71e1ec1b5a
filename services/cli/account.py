"""`ringfence account`: one account from the Redis tables, decoded."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from services.cli.output import ExitCode, flush_json, note, stop, write_json
from services.cli.topics import AsJson, ConfigFile

if TYPE_CHECKING:
    from services.engine.rows import AccountRow, BucketRow, OrderRow
    from services.liquidator.config import Config


def account(
    name: Annotated[str, typer.Argument(metavar="ACCOUNT", help="The account's id.")],
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Print an account's buckets as the tables in Redis hold them: balances, positions, status, open orders. Exit code 1: there is none.

    Example: ringfence account a-17 --config ringfence.toml
    """  # fmt: skip
    import asyncio

    import msgspec

    from services.adapters.ports import Refused, Unreachable
    from services.liquidator.config import Misconfigured, load

    try:
        found = asyncio.run(_lines(load(config), name))
    except Misconfigured as error:
        stop(str(error), ExitCode.WRONG_USE)
    except Unreachable as error:
        stop(str(error), ExitCode.UNREACHABLE)
    except (Refused, msgspec.DecodeError, ValueError) as error:
        stop(f"the table cannot be read: {error}", ExitCode.NO)
    if not found:
        stop(f"no table holds account {name}", ExitCode.NO)
    if as_json:
        for line in found:
            write_json(line)
        flush_json()
        return
    for line in found:
        _print(line)


async def _lines(config: "Config", name: str) -> list[dict[str, Any]]:
    """The account's own line, then one a bucket, by name."""
    from services.adapters.redis_reader import reading, shard_of
    from services.adapters.redis_table import RedisTable
    from services.engine.rows import AccountRow, decode_row
    from services.engine.settings import Settings
    from services.liquidator.build import redis_client, table_settings

    client, settings = redis_client(config), table_settings(config, Settings())
    async with reading(client):
        partition = await shard_of(client, settings.prefix, name)
        if partition is None:
            return []
        stored = await RedisTable(client, settings).load(partition)
    rows = {field: decode_row(raw) for field, raw in stored.rows if field.startswith(f"{name}|")}
    lines = []
    for field in sorted(rows):
        row, bucket = rows[field], field.removeprefix(f"{name}|")
        if isinstance(row, AccountRow):
            lines.append(account_line(name, partition, stored.epoch, row))
        else:
            lines.append(bucket_line(name, bucket, row))
    return lines


def account_line(name: str, partition: int, epoch: int, row: "AccountRow") -> dict[str, Any]:
    """What is kept of an account beside its buckets."""
    return {
        "account": name,
        "partition": partition,
        "epoch": epoch,
        "known": row.known,
        "client": row.client,
        "segregation": row.segregation,
        "margin_mode": row.margin_mode,
        "margin_preset": row.margin_preset,
        "valuation_asset": row.valuation_asset,
        "provisional": row.provisional,
        "account_sequences": row.sequences,
        "parked_fills": len(row.parked),
        "last_read": {topic: list(place) for topic, place in sorted(row.last_read.items())},
    }


def bucket_line(account: str, bucket: str, row: "BucketRow") -> dict[str, Any]:
    """A bucket's row as it is stored."""
    return {
        "account": account,
        "bucket": bucket,
        "status": row.status,
        "balances": dict(sorted(row.balances.items())),
        "locked": dict(sorted(row.locked.items())),
        "positions": [_position(key, *held) for key, held in sorted(row.positions.items())],
        "open_orders": [_order(order_id, order) for order_id, order in sorted(row.orders.items()) if _can_act(order)],
        "attempts": dict(sorted(row.attempts.items())),
        "doubts": sorted(f"{doubt.name} at {doubt.topic} {doubt.offset}" for doubt in row.doubts.values()),
    }


def _position(key: str, quantity: str, open_cost: str) -> dict[str, str]:
    instrument, _, side = key.rpartition("|")
    return {"instrument": instrument, "position_side": side, "quantity": quantity, "open_cost": open_cost}


def _can_act(row: "OrderRow") -> bool:
    """Rows also keep orders that are over until their distress ends; those have no content to send again."""
    return row.content is not None or not row.confirmed


def _order(order_id: str, row: "OrderRow") -> dict[str, Any]:
    return {
        "order_id": order_id,
        "instrument": row.instrument,
        "position_side": row.position_side,
        "side": row.side,
        "quantity": row.quantity,
        "filled_quantity": row.filled,
        "limit_price": row.limit_price,
        "stage": row.stage,
        "attempt": row.attempt,
        "is_terminal": row.terminal,
        "valid_until_ms": row.valid_until_ms,
    }


def _print(line: dict[str, Any]) -> None:
    if "bucket" not in line:
        shown = ", ".join(f"{key} {value}" for key, value in line.items() if key not in ("account", "last_read"))
        typer.echo(f"{line['account']}: {shown}")
    else:
        typer.echo(f"  {line['bucket']}: {line['status']}")
        for name in ("balances", "locked"):
            for asset, amount in line[name].items():
                typer.echo(f"    {name[:7]} {amount} {asset}")
        for position in line["positions"]:
            typer.echo(f"    position {position['quantity']} {position['instrument']} ({position['position_side']})")
        for order in line["open_orders"]:
            typer.echo(
                f"    order {order['side']} {order['quantity']} {order['instrument']} at {order['limit_price']}, "
                f"filled {order['filled_quantity']}, {order['stage']}, attempt {order['attempt']}, {order['order_id']}"
            )
    for doubt in line.get("doubts", ()):
        note(f"doubt: {doubt}")
