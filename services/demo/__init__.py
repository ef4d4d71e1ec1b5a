"""A simulated venue with a flash crash, played against a real worker on this machine."""

from typing import Final

SECONDS: Final = 38.0  # how long the market moves; with starting and ending under a minute, on a busy machine too
ACCOUNTS: Final = 2_000
