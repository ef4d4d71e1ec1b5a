"""How often the move within the close-out time exceeded the margin: counted as the prices come."""

from msgspec import Struct

from services.contracts.decimals import ONE, to_text

RATE_PLACES = 6


class Backtest(Struct):
    """Of one instrument. Windows of the close-out time, one after the other, so that observations are independent.

    A window opens at a mark; it is a breach if any mark in it is further from that, either way, than the maintenance margin that
    was required at its opening: multiplier times the first tier's rate.
    """

    close_out_ms: int
    observations: int = 0
    breaches: int = 0
    opened_ms: int | None = None
    price: int = 0
    margin: int = 0  # share of the price, e18
    breached: bool = False

    def see(self, mark: int, ts_ms: int, margin: int) -> None:
        """A mark (e18) at its source's time, and the margin rate (e18) that is required now."""
        if self.opened_ms is not None and ts_ms - self.opened_ms <= self.close_out_ms:
            self.breached = self.breached or abs(mark - self.price) * ONE > self.margin * self.price
            return
        if self.opened_ms is not None:
            self.observations += 1
            self.breaches += self.breached
        self.opened_ms, self.price, self.margin, self.breached = ts_ms, mark, margin, False

    def line(self) -> dict[str, int | str | None]:
        """For the summary of a replay; no rate without an observation."""
        rate = None
        if self.observations:
            rate = to_text(
                (2 * 10**RATE_PLACES * self.breaches + self.observations) // (2 * self.observations), RATE_PLACES
            )
        return {"observations": self.observations, "breaches": self.breaches, "breach_rate": rate}
