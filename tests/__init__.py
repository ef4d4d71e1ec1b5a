"""Tests mirror `services`; run them with `make test`."""
