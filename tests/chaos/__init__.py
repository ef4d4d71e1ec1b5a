"""Real processes, real servers, faults at random: `python -m tests.chaos --minutes 5 --seed 7`, `make chaos MINUTES=5`."""
