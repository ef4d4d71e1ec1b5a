"""Decimal strings and the integers they become: exact both ways, against the decimal module and rationals."""

from __future__ import annotations

import re
from decimal import Context, Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from services.contracts.decimals import (
    DECIMAL_PATTERN,
    MAX_TEXT,
    ONE,
    PLACES,
    UNSIGNED_PATTERN,
    ceil_div,
    floor_div,
    parse,
    to_text,
)

TEXTS = st.from_regex(r"-?[0-9]{1,20}(\.[0-9]{1,18})?", fullmatch=True, alphabet=st.characters(codec="ascii"))
WIRE = st.integers(min_value=-(10**38) + 1, max_value=10**38 - 1)
EXACT = Context(prec=120)


@given(TEXTS)
def test_parsing_is_exact(text: str) -> None:
    assert parse(text) == EXACT.multiply(Decimal(text), Decimal(ONE))


@given(WIRE)
def test_an_integer_survives_its_text(value: int) -> None:
    text = to_text(value)
    assert parse(text) == value
    assert re.search(DECIMAL_PATTERN, text)
    assert len(text) <= MAX_TEXT


@given(WIRE, st.integers(min_value=0, max_value=PLACES))
def test_the_text_is_plain_and_has_no_trailing_zeros(value: int, places: int) -> None:
    text = to_text(value, places)
    assert Fraction(text) == Fraction(value, 10**places)
    whole, point, fraction = text.lstrip("-").partition(".")
    assert whole == "0" or not whole.startswith("0")
    assert bool(point) == bool(fraction)
    assert not fraction.endswith("0")
    assert text != "-0"


@given(TEXTS)
def test_a_text_becomes_plain_in_one_step(text: str) -> None:
    plain = to_text(parse(text))
    assert Decimal(plain) == Decimal(text)
    assert to_text(parse(plain)) == plain


@given(st.text(alphabet="0123456789+-._eE \n٣NaInf", max_size=45))
def test_the_patterns_accept_exactly_the_grammar(text: str) -> None:
    sign, digits = (text[:1], text[1:]) if text.startswith("-") else ("", text)
    whole, point, fraction = digits.partition(".")
    plain = all(part.isascii() and part.isdigit() for part in ([whole, fraction] if point else [whole]))
    fits = plain and len(whole) <= 20 and len(fraction) <= 18
    assert bool(re.search(DECIMAL_PATTERN, text)) == fits
    assert bool(re.search(UNSIGNED_PATTERN, text)) == (fits and not sign)


@given(st.integers(), st.integers().filter(bool))
def test_division_rounds_to_the_side_that_its_name_says(numerator: int, denominator: int) -> None:
    exact = Fraction(numerator, denominator)
    assert floor_div(numerator, denominator) <= exact < floor_div(numerator, denominator) + 1
    assert ceil_div(numerator, denominator) - 1 < exact <= ceil_div(numerator, denominator)
