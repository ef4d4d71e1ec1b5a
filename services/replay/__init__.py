"""A recording through the engine: effects, answers to the orders, a summary."""
