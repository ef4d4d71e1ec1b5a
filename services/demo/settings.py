"""The worker's configuration for the demo: the embedded parts, and nothing that reaches beyond this machine."""

from pathlib import Path


def worker_config(bootstrap: str, valkey_url: str, folder: Path) -> str:
    """The TOML file of a worker beside the embedded parts."""
    return ""
