"""2025-10-10 through one thin venue: Gemini's spot trades as marks, up to 180 s late and silent for minutes at the bottom.

Linear contracts with margin in USDT as in `coinm`; arrival is what the recorder saw, so the instruments disagree about the time.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from services.contracts.records import Record
from tests.recordings.coinm import Trade, records
from tests.recordings.writing import rows_of

TRADES: Final = "2025-10-10_gemini_spot_trades.csv.gz"
COINS: Final = ("BTC", "ETH", "SOL", "XRP", "DOGE")
CRASH_MS: Final = (1_760_129_400_000, 1_760_131_800_000)  # 20:50 to 21:30


def recording(data: Path, accounts: int, seed: int, *, window: tuple[int, int] = CRASH_MS) -> Iterator[Record]:
    """What was received in `window`, with accounts that opened before. Raises `Missing`."""
    trades = [
        Trade(int(row["recv_us"]), int(row["trade_id"]), int(row["ts_ms"]), f"{row['symbol'][:-3]}-PERP", row["price"])
        for row in rows_of(data, TRADES)
        if row["symbol"][:-3] in COINS and window[0] <= int(row["recv_us"]) // 1000 < window[1]
    ]
    return records(sorted(trades), accounts, seed)
