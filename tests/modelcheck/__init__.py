"""Bounded model check of the protocols that make orders and stored rows exactly-once: every interleaving, up to a bound."""
