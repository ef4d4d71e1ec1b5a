"""Rules about the tree itself; each one is tried on the tree and on a seeded violation."""
