"""Makes a recording from real market data: `python -m tests.recordings NAME --out FILE`; `--help` lists the names."""

import argparse
import sys
from pathlib import Path

from tests.recordings.catalogue import RECORDINGS
from tests.recordings.writing import Missing, default_data, write


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.recordings",
        description=__doc__,
        epilog="\n".join(f"{name:<14} {recipe.about}" for name, recipe in RECORDINGS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("name", choices=RECORDINGS)
    parser.add_argument("--data", type=Path, default=default_data(), help="the folder that holds market/")
    parser.add_argument("--accounts", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, required=True, help="plain, .gz or .zst by its name")
    arguments = parser.parse_args()
    try:
        rows = RECORDINGS[arguments.name].records(arguments.data, arguments.accounts, arguments.seed)
        count = write(arguments.out, rows)
    except Missing as missing:
        print(missing, file=sys.stderr)
        return 0
    print(f"{arguments.out}: {count} records")
    return 0


if __name__ == "__main__":
    sys.exit(main())
