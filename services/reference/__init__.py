"""The independent, slow and obvious implementation: the oracle of the engine's arithmetic and decisions.

Every number is a `fractions.Fraction`; every bucket is valued anew after every record. It shares nothing with `services.engine`
but the messages and the two value types that effects and settings are made of.
"""
