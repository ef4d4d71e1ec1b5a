"""Short names for positions, for tests."""

from services.engine.portfolio import OptionLeg


def call(strike: float, amount: float, volatility: float = 0.6, mark: float | None = None) -> OptionLeg:
    return OptionLeg(
        instrument=f"C{strike}", is_call=True, strike=strike, amount=amount, volatility=volatility, mark=mark
    )


def put(strike: float, amount: float, volatility: float = 0.6, mark: float | None = None) -> OptionLeg:
    return OptionLeg(
        instrument=f"P{strike}", is_call=False, strike=strike, amount=amount, volatility=volatility, mark=mark
    )
