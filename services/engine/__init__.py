"""The pure engine: records and timers in, effects out. No I/O, no clock, no logger, no randomness."""
