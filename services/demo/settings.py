"""The worker's configuration beside parts on loopback: for the demo and for recordings played at a real broker."""

from collections.abc import Mapping
from typing import Final

from services.adapters.embedded import FETCH_MAX_WAIT_MS

# The worst minutes of a crash pass sixteen times as fast here, so what is tuned for real minutes has to be told:
# a close that aims just above the requirement would be repeated every few marks until nothing is left (hysteresis: a close
# leaves ten times the requirement); the mark moves by up to a per cent before an order can be answered, so that a limit a
# fiftieth of a per cent away would be missed each time (half_spread).
CRASH_ENGINE: Final = {"hysteresis": "9", "half_spread": "0.02"}


def worker_config(bootstrap: str, redis_url: str, engine: Mapping[str, str]) -> str:
    """The TOML file of a worker. `price_look_back_ms` -1: the embedded broker cannot look up offsets by time."""
    chosen = "\n".join(f'{name} = "{value}"' for name, value in engine.items())
    return f"""\
[kafka]
bootstrap = "{bootstrap}"
fetch_max_wait_ms = {FETCH_MAX_WAIT_MS}

[redis]
url = "{redis_url}"

[engine]
{chosen}

[worker]
instance = "demo"
price_look_back_ms = -1

[http]
port = 0

[log]
format = "json"
"""
