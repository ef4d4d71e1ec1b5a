"""The incident report in a real browser."""
