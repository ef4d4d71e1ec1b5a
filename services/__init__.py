"""Ringfence: a streaming liquidation monitor.

Imports go one way: `cli` -> `demo` | `replay` | `liquidator` -> `adapters` -> `engine` -> `contracts`, and `reference` ->
`contracts`. The engine and the reference are pure: no input or output, clock, logging or randomness. Only
`liquidator/build.py` brings the engine, Faust and Redis together. `make lint` and `tests/tidy` hold these rules.
"""
