"""A storm shortens the turns of prices, calm lengthens them again."""

from __future__ import annotations

from services.liquidator.stride import LONG_S, SHORT_S, Stride


def test_a_storm_comes_down_to_a_price_at_a_time_and_calm_goes_back_to_all() -> None:
    stride = Stride(500)
    sizes = []
    for _ in range(6):
        stride.took(10 * LONG_S)
        sizes.append(stride.size)
    assert sizes == [125, 31, 7, 1, 1, 1]
    for _ in range(12):
        stride.took(SHORT_S / 2)
    assert stride.size == 500


def test_between_short_and_long_it_stays() -> None:
    stride = Stride(500)
    stride.took(2 * LONG_S)
    stride.took((LONG_S + SHORT_S) / 2)
    assert stride.size == 125
