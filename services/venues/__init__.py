"""Venue rules as parameter files: the conventions of contracts.md and representative instruments, each number with its source."""
