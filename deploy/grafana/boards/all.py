"""All dashboards, as the files that Grafana reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana.boards import incident, instrument, overview, worker

FOLDER: Final = Path(__file__).resolve().parents[1] / "dashboards"


def files() -> dict[str, str]:
    """File name to content."""
    boards = [overview.board(), instrument.board(), worker.board(), incident.board()]
    return {
        f"{board.uid}.json": json.dumps(board, cls=JSONEncoder, indent=2, sort_keys=True) + "\n" for board in boards
    }
