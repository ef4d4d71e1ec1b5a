"""What a venue accepts as the quantity of one order."""

from fractions import Fraction

from services.reference.rounding import down_to
from services.reference.specs import Spec


def within_limits(spec: Spec, held: Fraction, quantity: Fraction) -> Fraction:
    """At most the position and the largest order, at least the smallest; no remainder under the smallest if all fits one order."""
    most = held
    if spec.max_order is not None:
        most = min(held, spec.max_order if spec.lot is None else down_to(spec.max_order, spec.lot))
    quantity = min(quantity, most)
    if spec.min_order is None:
        return quantity
    quantity = min(held, max(quantity, spec.min_order))
    leaves_dust = held - quantity < spec.min_order and held <= max(most, spec.min_order)
    return held if leaves_dust else quantity
