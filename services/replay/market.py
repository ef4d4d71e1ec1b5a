"""What the matching knows of the market: the last marks, what instruments cost and what a quantity of them is worth."""

from collections.abc import Iterable
from fractions import Fraction

from msgspec import Struct

from services.contracts.codec import decode
from services.contracts.messages import Account, Collateral, Instrument, Message, Price
from services.contracts.records import Record
from services.contracts.ticks import Tick


class Fees(Struct, frozen=True):
    """Rates on the notional."""

    taker: Fraction
    liquidation: Fraction


class Market:
    """Folded from the accepted records of `instruments`, `collateral`, `accounts` and `prices`."""

    def __init__(self) -> None:
        self._instruments: dict[str, Instrument] = {}
        self._collateral: dict[str, Collateral] = {}
        self._valued_in: dict[str, str] = {}
        self._marks: dict[str, str] = {}
        # By instrument its newest accepted tick: decoded when its mark is asked for.
        self._unread: dict[bytes, bytes] = {}
        self._named: dict[bytes, bytes] = {}

    def saw(self, message: Message) -> str | None:
        """Folds a record in; answers the instrument when it brought that a mark."""
        match message:
            case Price(instrument=instrument, mark_price=str(mark)):
                self._marks[instrument] = mark
                self._unread.pop(instrument.encode(), None)
                return instrument
            case Instrument():
                self._instruments[message.instrument] = message
            case Collateral():
                self._collateral[message.asset] = message
            case Account():
                self._valued_in[message.account] = message.valuation_asset
        return None

    def passed(self, record: Record) -> bool:
        """Keeps an accepted price for later. False where only decoding tells what it is of, or whether it brings a mark."""
        key, value = record.key, record.value
        if key is None:
            return False
        named = self._named.get(key)
        if named is None:
            named = self._named[key] = b'"instrument":"' + key + b'"'
        if named not in value or b'"mark_price":"' not in value:
            return False
        self._unread[key] = value
        return True

    def marked(self, ticks: Iterable[Tick]) -> None:
        """The last of accepted ticks is the mark of its instrument."""
        for instrument, mark in {tick.instrument: tick.mark_price for tick in ticks}.items():
            self._marks[instrument] = mark
            self._unread.pop(instrument.encode(), None)

    def mark(self, instrument: str) -> Fraction | None:
        unread = self._unread.pop(instrument.encode(), None)
        if unread is not None and isinstance(price := decode("prices", unread), Price):
            self.saw(price)
        text = self._marks.get(instrument)
        return None if text is None else Fraction(text)

    def fees(self, instrument: str) -> Fees:
        known = self._instruments[instrument]
        return Fees(Fraction(known.taker_fee_rate or "0"), Fraction(known.liquidation_fee_rate or "0.0005"))

    def size(self, instrument: str) -> Fraction:
        """Units of the underlying in a contract."""
        return Fraction(self._instruments[instrument].contract_size or "1")

    def converted(self, instrument: str) -> tuple[str, str]:
        """What a sale on a conversion instrument turns into what: the collateral that names it, and its settlement asset."""
        known = self._instruments[instrument]
        names = sorted(c.asset for c in self._collateral.values() if c.conversion_instrument == instrument)
        sold = known.underlying if known.underlying in names else names[0]
        return sold, known.settlement_asset

    def value(self, instrument: str, quantity: Fraction, price: Fraction) -> Fraction:
        """What `quantity` contracts (signed) at `price` are worth in the settlement asset; its magnitude is the notional."""
        known = self._instruments[instrument]
        size = Fraction(known.contract_size or "1")
        if known.contract == "inverse" and known.kind != "option":
            return -quantity * size / price
        return quantity * size * price

    def notional(self, instrument: str, quantity: str, price: str) -> tuple[str, Fraction]:
        """Settlement asset and what `quantity` contracts are worth in it."""
        return self._instruments[instrument].settlement_asset, abs(
            self.value(instrument, Fraction(quantity), Fraction(price))
        )

    def settlement_price(self, account: str, instrument: str) -> Fraction | None:
        """The settlement asset's price in the account's valuation asset, or None where it is not known."""
        asset = self._instruments[instrument].settlement_asset
        if self._valued_in.get(account, asset) == asset:
            return Fraction(1)
        collateral = self._collateral.get(asset)
        if collateral is None:
            return None
        if collateral.price_instrument is None:
            return Fraction(1)
        mark = self.mark(collateral.price_instrument)
        return None if mark is None else max(mark, Fraction(collateral.price_floor or "0"))
