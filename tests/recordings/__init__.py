"""Recordings made from real market data that is not part of this tree: each script says so and stops where it is absent."""
