"""A venue's parameter file (TOML) as messages: its conventions, instruments and collateral.

`[conventions]` holds what every instrument of the venue shares unless it says otherwise itself (fields of `Instrument`);
`liquidate_at_equal` is the engine setting that goes with it. `sources` says where each number comes from and goes no further.
"""

import tomllib
from importlib import resources
from typing import Any, Final

from msgspec import Struct, ValidationError, convert

from services.contracts.checks import check
from services.contracts.messages import Collateral, Instrument, Message

SUFFIX: Final = ".toml"


class VenueError(Exception):
    """The venue is not known, or its file is no parameter file; says which and why."""


class Venue(Struct, frozen=True, kw_only=True):
    """One venue's rules. `conventions` are fields of `Instrument` as they stand in the file."""

    name: str
    title: str
    liquidate_at_equal: bool
    conventions: dict[str, str]
    instruments: tuple[Instrument, ...]
    collateral: tuple[Collateral, ...]

    def instrument(self, name: str) -> Instrument:
        """The instrument of that id. Raises `VenueError`."""
        for instrument in self.instruments:
            if instrument.instrument == name:
                return instrument
        raise VenueError(f"{self.name} has no instrument {name}")


def venue_names() -> list[str]:
    """The venues that the package brings."""
    files = (resources.files("services") / "venues").iterdir()
    return sorted(file.name.removesuffix(SUFFIX) for file in files if file.name.endswith(SUFFIX))


def load_venue(name: str) -> Venue:
    """The venue whose file the package brings under that name. Raises `VenueError`."""
    if name not in venue_names():
        raise VenueError(f"no venue {name}: there are {', '.join(venue_names())}")
    text = (resources.files("services") / "venues" / f"{name}{SUFFIX}").read_text(encoding="utf-8")
    return parse_venue(text, name)


def parse_venue(text: str, name: str) -> Venue:
    """The venue that a file's text describes. Raises `VenueError`."""
    try:
        content = tomllib.loads(text)
        conventions = content["conventions"]
        return Venue(
            name=name,
            title=content["title"],
            liquidate_at_equal=content["liquidate_at_equal"],
            conventions=conventions,
            instruments=tuple(_message(conventions | row, Instrument) for row in content["instruments"]),
            collateral=tuple(_message(row, Collateral) for row in content.get("collateral", [])),
        )
    except (tomllib.TOMLDecodeError, KeyError, TypeError, ValidationError, ValueError) as error:
        raise VenueError(f"{name}: {error}") from error


def _message(row: dict[str, Any], kind: type[Message]) -> Any:
    """The row as a message, refused as a record of it would be; without `sources`, which is for people."""
    known = {key: value for key, value in row.items() if key != "sources"}
    unknown = known.keys() - set(kind.__struct_fields__)
    if unknown:
        raise ValueError(f"unknown fields {', '.join(sorted(unknown))}")
    message = convert(known, kind)
    refusal = check(message)
    if refusal is not None:
        raise ValueError(f"{refusal.reason.value}: {refusal.detail}")
    return message
