"""Tests of services/engine/portfolio, with the slow oracle and the published cases that they share."""
