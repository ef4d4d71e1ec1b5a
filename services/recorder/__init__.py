"""Topics into recordings, and recordings back into topics."""
