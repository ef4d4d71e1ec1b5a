"""Deterministic simulation: the real engine, worker and recovery over a simulated Kafka, Redis, clock and venue.

One seed is one history. `python -m tests.simulation --seeds 100` runs many, `--seed 7 --verbose` shows one.
"""
