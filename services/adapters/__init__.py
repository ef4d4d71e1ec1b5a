"""Thin I/O around the engine: Kafka, Redis, metrics, probes, logs. No decision is taken here."""
