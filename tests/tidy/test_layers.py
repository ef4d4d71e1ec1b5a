"""Imports go one way: the contracts in pyproject.toml hold on the tree, and do catch a violation."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tidy.tree import ROOT

LAYERS = ("cli", "demo", "replay", "liquidator", "risk", "adapters", "engine", "reference", "order_gate", "contracts")
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def lint_imports(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", LINT, "--no-cache"], cwd=root, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.fixture
def layered(tmp_path: Path) -> Path:
    """A package with the project's layers, its contracts and nothing inside."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for name in ("", *LAYERS):
        package = tmp_path / "services" / name
        package.mkdir(parents=True, exist_ok=True)
        (package / "__init__.py").write_text("")
    return tmp_path


def test_the_tree_keeps_its_layers() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_empty_layers_keep_the_contracts(layered: Path) -> None:
    done = lint_imports(layered)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("module", "imports"),
    [
        ("engine", "services.adapters"),
        ("contracts", "services.engine"),
        ("adapters", "services.liquidator"),
        ("replay", "services.demo"),
        ("liquidator", "services.cli"),
        ("reference", "services.engine"),
        ("engine", "services.reference"),
        ("order_gate", "services.engine"),
        ("engine", "time"),
        ("reference", "logging"),
    ],
)
def test_a_seeded_violation_is_caught(layered: Path, module: str, imports: str) -> None:
    (layered / "services" / module / "seeded.py").write_text(f"import {imports}\n")
    done = lint_imports(layered)
    assert done.returncode == 1, done.stdout + done.stderr
    assert f"services.{module}.seeded -> {imports}" in done.stdout
