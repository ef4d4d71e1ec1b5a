"""Fills into a Faust table with its changelog, as Faust's documentation writes it: bootstrap, topic, application id, partitions, seconds between
commits, folder."""

import logging
import sys

import faust
from ledger import apply, empty


def build(bootstrap: str, topic: str, name: str, *, partitions: int, commit_s: float, folder: str) -> faust.App:
    app = faust.App(
        name, broker=f"kafka://{bootstrap}", store="memory://", autodiscover=False, web_enabled=False, topic_partitions=partitions,
        topic_replication_factor=1, broker_commit_interval=commit_s, consumer_auto_offset_reset="earliest",
        stream_wait_empty=False, datadir=folder,
    )  # fmt: skip
    fills = app.topic(topic, key_type=str, key_serializer="raw", value_serializer="json")
    ledgers = app.Table("ledgers", partitions=partitions)

    @app.agent(fills)
    async def fold(stream: faust.Stream) -> None:
        async for account, fill in stream.items():
            ledger = ledgers.get(account) or empty()
            if apply(ledger, fill):
                ledgers[account] = ledger

    return app


if __name__ == "__main__":
    app = build(*sys.argv[1:4], partitions=int(sys.argv[4]), commit_s=float(sys.argv[5]), folder=sys.argv[6])
    faust.Worker(app, loglevel=logging.WARNING).execute_from_commandline()
