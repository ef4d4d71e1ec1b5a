"""Fills into Quix Streams' state (RocksDB) with its changelog: bootstrap, topic, consumer group, state folder, seconds between commits."""

import sys
from typing import Any

from ledger import apply, empty
from quixstreams import Application, State


def fold(fill: dict[str, Any], state: State) -> None:
    ledger = state.get("ledger") or empty()
    if apply(ledger, fill):
        state.set("ledger", ledger)


def main(bootstrap: str, topic: str, group: str, folder: str, commit_s: float) -> None:
    app = Application(
        broker_address=bootstrap, consumer_group=group, auto_offset_reset="earliest", state_dir=folder, commit_interval=commit_s,
        processing_guarantee="at-least-once", loglevel="WARNING",
    )  # fmt: skip
    fills = app.topic(topic, key_deserializer="str", value_deserializer="json")
    frame = app.dataframe(fills)
    frame.update(fold, stateful=True)
    app.run()


if __name__ == "__main__":
    main(*sys.argv[1:5], float(sys.argv[5]))
